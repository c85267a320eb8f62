//! The two questions of enrolment. Until the hub's seal was checked nothing is told that is worth anything, and from then on
//! only the authority that was sealed is believed.

use std::time::Duration;

use lectern_base::chance;
use lectern_wire::digest::Digest;
use lectern_wire::enrol::{Code, Enrolled, Hello, Wish};
use lectern_wire::sign::PublicKey;
use lectern_wire::upload::Problem;
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio_native_tls::native_tls::{Certificate, TlsConnector};
use url::Url;

use super::EnrolError;
use crate::platform::tls::CertificateKey;

/// A call that takes longer has come to nothing.
const CALL: Duration = Duration::from_secs(20);
/// What a hub says is not longer, bytes.
const MOST: usize = 256 * 1024;

/// Where, with what, and by which way out.
#[derive(Debug)]
pub struct Card {
    /// The hub.
    pub hub: Url,
    /// The code.
    pub code: Code,
    /// The school's proxy, and `user:password` where it asks for them.
    pub proxy: Option<(Url, Option<String>)>,
}

/// What was agreed on.
pub struct Agreed {
    /// What the hub gave.
    pub enrolled: Enrolled,
    /// The authority that its certificate is checked by; none: those this system knows.
    pub ca: Option<String>,
    /// The key of this device's certificate.
    pub key: CertificateKey,
}

/// Asks both.
///
/// # Errors
/// [`EnrolError`].
pub async fn enrol(card: &Card, public: PublicKey, machine: Vec<Digest>) -> Result<Agreed, EnrolError> {
    let key = card.code.key();
    let place = format!("/api/v1/enrol/{}", key.token());
    let nonce = chance::hex::<16>();
    let asked = client(card, Believe::Anybody)?.get(join(card, &format!("{place}?nonce={nonce}"))?);
    let hello: Hello = answer(card, asked.send().await).await?;
    if !key.fits(&nonce, &hello) {
        return Err(EnrolError::Stranger(card.hub.to_string()));
    }
    let own = CertificateKey::new().map_err(|e| EnrolError::Keep(e.to_string()))?;
    let csr = own.request().map_err(|e| EnrolError::Keep(e.to_string()))?;
    let mut wish = Wish { csr, key: public, machine, proof: String::new() };
    wish.proof = key.proof(&wish);
    let believed = hello.ca.as_deref().map_or(Believe::System, Believe::This);
    let asked = client(card, believed)?.post(join(card, &place)?).json(&wish);
    let enrolled: Enrolled = match answer(card, asked.send().await).await {
        // The hub said what its certificate is checked by, and this is none of those: it is not the hub that is spoken with.
        Err(EnrolError::Unreachable(at, why)) if why.contains("certificate") => {
            tracing::warn!("{at} showed a certificate that the hub's authority has not signed: {why}");
            return Err(EnrolError::Stranger(at));
        }
        answer => answer?,
    };
    if !own.has(&enrolled.certificate) {
        return Err(EnrolError::Garbled(card.hub.to_string(), "a certificate for another key".into()));
    }
    Ok(Agreed { enrolled, ca: hello.ca, key: own })
}

/// Whose certificate is believed.
#[derive(Clone, Copy)]
enum Believe<'a> {
    /// Whoever's: what is said is checked by its seal.
    Anybody,
    /// One of this authority's, PEM.
    This(&'a str),
    /// One of those this system knows.
    System,
}

fn client(card: &Card, believe: Believe<'_>) -> Result<reqwest::Client, EnrolError> {
    let unusable = |e: &dyn std::fmt::Display| EnrolError::Keep(format!("TLS cannot be set up: {e}"));
    let mut tls = TlsConnector::builder();
    match believe {
        Believe::Anybody => {
            tls.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        }
        Believe::This(ca) => {
            let ca = Certificate::from_pem(ca.as_bytes()).map_err(|e| unusable(&e))?;
            tls.disable_built_in_roots(true).add_root_certificate(ca);
        }
        Believe::System => {}
    }
    let tls = tls.build().map_err(|e| unusable(&e))?;
    let mut client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(CALL)
        .tls_backend_preconfigured(tls);
    client = match &card.proxy {
        None => client.no_proxy(),
        Some((url, login)) => {
            let proxy = reqwest::Proxy::all(url.clone()).map_err(|e| unusable(&e))?;
            client.proxy(match login.as_deref().and_then(|login| login.split_once(':')) {
                Some((user, password)) => proxy.basic_auth(user, password),
                None => proxy,
            })
        }
    };
    client.build().map_err(|e| unusable(&e))
}

fn join(card: &Card, path: &str) -> Result<Url, EnrolError> {
    card.hub.join(path).map_err(|_| EnrolError::Address(card.hub.to_string()))
}

/// The hub's answer, or its sentence.
async fn answer<T: DeserializeOwned>(
    card: &Card,
    response: reqwest::Result<Response>,
) -> Result<T, EnrolError> {
    let at = || card.hub.to_string();
    let unreachable = |e: reqwest::Error| {
        let e = e.without_url();
        let cause = std::error::Error::source(&e).map_or_else(|| e.to_string(), innermost);
        EnrolError::Unreachable(at(), cause)
    };
    let mut response = response.map_err(unreachable)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&piece);
        if body.len() > MOST {
            return Err(EnrolError::Garbled(at(), "too much".into()));
        }
    }
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|e| EnrolError::Garbled(at(), e.to_string()));
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(Problem { code, message }) => Err(EnrolError::Refused { code, message }),
        // A hub of before, or something else altogether.
        Err(_) if status == StatusCode::NOT_FOUND => Err(EnrolError::Stranger(at())),
        Err(_) => Err(EnrolError::Garbled(at(), format!("an answer {status} without a reason"))),
    }
}

fn innermost(mut e: &(dyn std::error::Error + 'static)) -> String {
    while let Some(cause) = e.source() {
        e = cause;
    }
    e.to_string()
}
