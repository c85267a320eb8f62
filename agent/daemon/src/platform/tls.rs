//! TLS with the hub: whom this device believes, and what it shows of itself.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::x509::{X509, X509Req};
use tokio_native_tls::native_tls::{self, Certificate, Identity, TlsConnector};

use crate::model::trust::Files;

/// TLS with the hub. The connector is made when TLS is first spoken, and again after the device's certificate changed.
#[derive(Debug, Default)]
pub struct Trust {
    files: Files,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    /// How often the certificate changed.
    turn: u64,
    connector: Option<TlsConnector>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").field("turn", &self.turn).finish_non_exhaustive()
    }
}

/// Why there is no TLS with the hub.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// What is in it, or the library.
    #[error("TLS with the hub cannot be set up: {0}")]
    Tls(#[from] native_tls::Error),
}

impl Trust {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(files: Files) -> Self {
        Self { files, made: Mutex::default() }
    }

    /// The connector, and its turn: another turn is another certificate.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn connector(&self) -> Result<(TlsConnector, u64), TrustError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = made.turn;
        if let Some(connector) = &made.connector {
            return Ok((connector.clone(), turn));
        }
        Ok((made.connector.insert(connector(&self.files)?).clone(), turn))
    }

    /// The turn of today.
    #[must_use]
    pub fn turn(&self) -> u64 {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).turn
    }

    /// The certificate has changed: what is made from now on shows the new one.
    pub fn changed(&self) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        *made = Made { turn: made.turn + 1, connector: None };
    }

    /// Where things are read from.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }
}

fn connector(files: &Files) -> Result<TlsConnector, TrustError> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| TrustError::File(path.to_owned(), e));
    let mut made = TlsConnector::builder();
    if let Some(ca) = &files.ca {
        // This one and no other: who holds a certificate that the world believes is not the school's hub by that.
        made.disable_built_in_roots(true).add_root_certificate(Certificate::from_pem(&read(ca)?)?);
    }
    if let Some((certificate, key)) = &files.own {
        made.identity(Identity::from_pkcs8(&read(certificate)?, &read(key)?)?);
    }
    Ok(made.build()?)
}

/// The key of this device's certificate: another one than it signs lessons with, so that neither can be made to do the
/// other's work.
pub struct CertificateKey(PKey<Private>);

impl CertificateKey {
    /// A new one.
    ///
    /// # Errors
    /// What the library says.
    pub fn new() -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        Ok(Self(PKey::from_ec_key(EcKey::generate(&group)?)?))
    }

    /// From its file.
    ///
    /// # Errors
    /// A sentence.
    pub fn read(path: &Path) -> Result<Self, String> {
        let pem = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        PKey::private_key_from_pem(&pem).map(Self).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// For its file.
    ///
    /// # Errors
    /// What the library says.
    pub fn pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.0.private_key_to_pem_pkcs8()
    }

    /// A request for a certificate. The hub knows who asks; it says nothing but the key.
    ///
    /// # Errors
    /// What the library says.
    pub fn request(&self) -> Result<String, ErrorStack> {
        let mut request = X509Req::builder()?;
        request.set_pubkey(AsRef::<PKeyRef<Private>>::as_ref(&self.0))?;
        request.sign(&self.0, MessageDigest::sha256())?;
        Ok(String::from_utf8_lossy(&request.build().to_pem()?).into_owned())
    }

    /// Whether a certificate, PEM, is for this key.
    #[must_use]
    pub fn has(&self, certificate: &str) -> bool {
        let found = X509::from_pem(certificate.as_bytes()).and_then(|cert| cert.public_key());
        found.is_ok_and(|key| key.public_eq(&self.0))
    }
}

/// When a certificate in a file ends, Unix milliseconds.
///
/// # Errors
/// A sentence.
pub fn ends_ms(path: &Path) -> Result<i64, String> {
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let pem = std::fs::read(path).map_err(|e| named(&e))?;
    let until = X509::from_pem(&pem).and_then(|cert| Asn1Time::from_unix(0)?.diff(cert.not_after()));
    let until = until.map_err(|e| named(&e))?;
    Ok((i64::from(until.days) * 86_400 + i64::from(until.secs)) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connector_is_made_once_and_again_when_the_certificate_changed() {
        let trust = Trust::new(Files::default());
        assert_eq!(trust.connector().expect("made").1, 0);
        trust.changed();
        assert_eq!((trust.connector().expect("made").1, trust.turn()), (1, 1));
        let odd = Files { ca: Some("/nowhere/ca.pem".into()), own: None };
        assert!(Trust::new(odd).connector().expect_err("told").to_string().contains("/nowhere/ca.pem"));
    }

    #[test]
    fn a_request_is_signed_with_its_own_key() {
        let (key, other) = (CertificateKey::new().expect("made"), CertificateKey::new().expect("made"));
        let request = X509Req::from_pem(key.request().expect("made").as_bytes()).expect("reads");
        assert!(request.verify(&key.0).expect("checked") && !request.verify(&other.0).expect("checked"));
    }
}
