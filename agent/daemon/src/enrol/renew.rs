//! The device's certificate is renewed when a third of its time is left, by the one that is to be replaced; then every
//! connection that is made shows the new one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lectern_base::{chance, clock, disk};
use lectern_wire::enrol::{Renew, Renewed};
use lectern_wire::id::DeviceId;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::platform::http;
use crate::platform::tls::{self, CertificateKey, Trust};
use crate::store::Store;

/// Renewed when this is left: a third of what hubs give.
const LEFT_MS: i64 = 132 * 86_400_000;
/// How often it is looked.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// After a hub that did not answer.
const RETRY: Duration = Duration::from_secs(15 * 60);
/// A call that takes longer has come to nothing.
const CALL: Duration = Duration::from_secs(20);

/// Which hub, and as whom.
pub struct Settings {
    /// Its address.
    pub url: Url,
    /// This device.
    pub device: DeviceId,
    /// Its password.
    pub password: String,
    /// The way there.
    pub http: Arc<http::Client>,
    /// What is renewed.
    pub trust: Arc<Trust>,
}

/// Runs until told to stop.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    // A school's rooms are switched on in the same minute.
    let mut wait = Duration::from_secs(10) + Duration::from_millis(chance::below(20_000));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let Some((certificate, key)) = settings.trust.files().own.clone() else {
            return stop.cancelled().await;
        };
        // The hub's time where it is known: this machine's clock may be anywhere.
        let now = clock::wall_ms().saturating_add(store.line().hub_ahead_ms().unwrap_or(0));
        let due = match tls::ends_ms(&certificate) {
            Ok(ends) => ends.saturating_sub(now) < LEFT_MS,
            Err(e) => {
                tracing::error!("this device's certificate cannot be read: {e}");
                false
            }
        };
        wait = EVERY;
        if due {
            match renew(&settings, &certificate, &key).await {
                Ok(()) => tracing::info!("this device has a new certificate"),
                Err(e) => {
                    wait = RETRY;
                    tracing::warn!("this device's certificate was not renewed yet: {e}");
                }
            }
        }
    }
}

/// Asks for a certificate for the same key, and puts it in the place of the old one.
async fn renew(settings: &Settings, certificate: &Path, key: &Path) -> Result<(), String> {
    let said = |e: reqwest::Error| e.without_url().to_string();
    let own = CertificateKey::read(key)?;
    let csr = own.request().map_err(|e| e.to_string())?;
    let url = settings.url.join("/api/v1/renew").map_err(|e| e.to_string())?;
    let call = settings.http.call(reqwest::Method::POST, url).timeout(CALL);
    let call = call.basic_auth(&settings.device, &settings.password).json(&Renew { csr });
    let response = call.send().await.map_err(|e| e.to_string())?.error_for_status().map_err(said)?;
    let Renewed { certificate: new } = response.json().await.map_err(said)?;
    if !own.has(&new) {
        return Err("the hub gave a certificate for another key".into());
    }
    disk::replace_with_mode(certificate, new.as_bytes(), 0o600)
        .map_err(|e| format!("{}: {e}", certificate.display()))?;
    settings.trust.changed();
    Ok(())
}
