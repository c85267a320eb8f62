//! The hub's own certificate authority, in `tls/` below the data folder.
//!
//! ```text
//! ca.key, ca.pem ── signs ─▶ server.key, server.pem   the hub's, for the names it is called by
//!                └─ signs ─▶ certificates of devices  CN is the device's id; their keys stay on the devices
//! ```
//!
//! Every certificate begins in the year 2000: classrooms have clocks that a dead battery set to 2013, and a room must not be
//! shut out, nor hold its hub for an impostor, because of that. What protects is not the beginning but the pin: a room
//! believes this authority alone. All of them end, and are renewed when a third of their time is left.

use std::path::{Path, PathBuf};

use lectern_base::{chance, disk};
use lectern_wire::id::DeviceId;
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, PKeyRef, Private, Public};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameRef, X509Ref, X509Req};

use super::StoreError;

/// 2000-01-01, seconds.
const BEGINS_S: i64 = 946_684_800;
/// How long the authority holds: the working life of a school's equipment, twice.
const CA_DAYS: i64 = 25 * 365;
/// How long the others hold. Longer ones are refused by some browsers.
const DAYS: i64 = 397;
/// They are renewed when this is left.
pub const RENEW_DAYS: i64 = DAYS / 3;
const DAY_MS: i64 = 86_400_000;
/// Names that the hub does not have just now and that its certificate still holds for, at most.
const MOST_FORMER: usize = 40;
/// A request for a certificate is no longer, bytes.
const MAX_REQUEST: usize = 8 * 1024;

/// The authority.
#[derive(Clone)]
pub struct Authority {
    folder: PathBuf,
    ca: X509,
    key: PKey<Private>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A device's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// PEM.
    pub pem: String,
    /// What it is known by.
    pub serial: String,
    /// When it ends, Unix milliseconds.
    pub ends_ms: i64,
}

/// What the hub shows to whoever calls.
#[derive(Clone)]
pub struct Served {
    /// Its certificate first, then those that lead to the root.
    pub chain: Vec<X509>,
    /// Its key.
    pub key: PKey<Private>,
}

impl Authority {
    /// Opens the authority; makes it when there is none.
    ///
    /// # Errors
    /// [`StoreError`] when its files cannot be read or made.
    pub fn open(data: &Path, now_ms: i64) -> Result<Self, StoreError> {
        let folder = data.join("tls");
        let what = || format!("the certificate authority in {}", folder.display());
        super::private_folder(&folder).map_err(StoreError::io(what()))?;
        let (cert, secret) = (folder.join("ca.pem"), folder.join("ca.key"));
        if !cert.exists() {
            let (ca, key) = make_ca(now_ms).map_err(tls(what()))?;
            // The key first: a certificate that is there has a key.
            keep(&secret, &key.private_key_to_pem_pkcs8().map_err(tls(what()))?, 0o600)?;
            keep(&cert, &ca.to_pem().map_err(tls(what()))?, 0o644)?;
        }
        let (ca, key) = (read(&cert, X509::from_pem)?, read(&secret, PKey::private_key_from_pem)?);
        if !ca.public_key().is_ok_and(|public| public.public_eq(&key)) {
            let odd = std::io::Error::other("ca.key is not the key of ca.pem; restore both from one backup");
            return Err(StoreError::io(what())(odd));
        }
        Ok(Self { folder, ca, key })
    }

    /// Its certificate, PEM.
    ///
    /// # Errors
    /// [`StoreError`], which would be OpenSSL's fault.
    pub fn pem(&self) -> Result<String, StoreError> {
        let pem = self.ca.to_pem().map_err(tls("the authority's certificate"))?;
        String::from_utf8(pem)
            .map_err(|e| StoreError::io("the authority's certificate")(std::io::Error::other(e.to_string())))
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &X509Ref {
        &self.ca
    }

    /// What it is known by: the SHA-256 of its certificate, as browsers show it.
    ///
    /// # Errors
    /// As [`Self::pem`].
    pub fn fingerprint(&self) -> Result<String, StoreError> {
        fingerprint(&self.ca).map_err(tls("the authority's certificate"))
    }

    /// The hub's certificate for these names; made when there is none, when it lacks one of them, and before it ends. It goes
    /// on naming what it named: rooms call the hub by an address that it may have been without for a while, as at a
    /// start before the network's.
    ///
    /// # Errors
    /// [`StoreError`] when its files cannot be read or made.
    pub fn server(&self, names: &[String], now_ms: i64) -> Result<Served, StoreError> {
        let what = || format!("the hub's certificate in {}", self.folder.display());
        let path = self.folder.join("server.pem");
        // One file, so that a certificate never stands beside another one's key.
        let kept = path.exists().then(|| {
            Ok::<_, StoreError>((read(&path, X509::from_pem)?, read(&path, PKey::private_key_from_pem)?))
        });
        let mut names = sorted(names);
        if let Some((cert, key)) = kept.transpose()?
            && self.ca.public_key().is_ok_and(|ca| cert.verify(&ca).unwrap_or(false))
        {
            let named = names_of(&cert);
            if names.iter().all(|name| named.contains(name))
                && ends_ms(&cert).is_some_and(|ends| ends - now_ms > RENEW_DAYS * DAY_MS)
            {
                return Ok(Served { chain: vec![cert, self.ca.clone()], key });
            }
            let former: Vec<_> = named.into_iter().filter(|name| !names.contains(name)).collect();
            names.extend(former.into_iter().take(MOST_FORMER));
        }
        let (cert, key) = self.make_server(&names, now_ms).map_err(tls(what()))?;
        let mut pem = key.private_key_to_pem_pkcs8().map_err(tls(what()))?;
        pem.extend(cert.to_pem().map_err(tls(what()))?);
        keep(&path, &pem, 0o600)?;
        tracing::info!(names = names.join(" "), "the hub has a new certificate");
        Ok(Served { chain: vec![cert, self.ca.clone()], key })
    }

    fn make_server(&self, names: &[String], now_ms: i64) -> Result<(X509, PKey<Private>), ErrorStack> {
        let key = new_key()?;
        let subject = name(&[(Nid::COMMONNAME, names.first().map_or("lectern-hub", String::as_str))])?;
        let mut made = self.begin(&subject, &key, now_ms)?;
        made.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
        let mut alternatives = SubjectAlternativeName::new();
        for name in sorted(names) {
            match name.parse::<std::net::IpAddr>() {
                Ok(_) => alternatives.ip(&name),
                Err(_) => alternatives.dns(&name),
            };
        }
        let alternatives = alternatives.build(&made.x509v3_context(Some(&self.ca), None))?;
        made.append_extension(alternatives)?;
        made.sign(&self.key, MessageDigest::sha256())?;
        Ok((made.build(), key))
    }

    /// A certificate for the key of a device's request. Only the key is taken from the request: who it is for, the hub knows.
    ///
    /// # Errors
    /// A sentence when the request is none.
    pub fn sign(&self, request: &str, device: &DeviceId, now_ms: i64) -> Result<Issued, String> {
        let refused = |e: ErrorStack| format!("the request for a certificate cannot be read: {e}");
        if request.len() > MAX_REQUEST {
            return Err("the request for a certificate is too long".into());
        }
        let request = X509Req::from_pem(request.as_bytes()).map_err(refused)?;
        let key = request.public_key().map_err(refused)?;
        // Before anything is computed with it: a stranger's key may be one that takes its time.
        if !key.ec_key().is_ok_and(|key| key.group().curve_name() == Some(Nid::X9_62_PRIME256V1)) {
            return Err("a device's key is one on the curve P-256".into());
        }
        if !request.verify(&key).map_err(refused)? {
            return Err("the request for a certificate is not signed with its own key".into());
        }
        let issued = || {
            let subject = name(&[(Nid::COMMONNAME, device.as_str())])?;
            let mut made = self.begin(&subject, &key, now_ms)?;
            made.append_extension(ExtendedKeyUsage::new().client_auth().build()?)?;
            made.sign(&self.key, MessageDigest::sha256())?;
            let made = made.build();
            let pem = String::from_utf8_lossy(&made.to_pem()?).into_owned();
            Ok(Issued { pem, serial: serial(&made)?, ends_ms: ends_ms(&made).unwrap_or(now_ms) })
        };
        issued().map_err(|e: ErrorStack| format!("the certificate could not be made: {e}"))
    }

    /// What the hub's and the devices' certificates have in common.
    fn begin<T: openssl::pkey::HasPublic>(
        &self,
        subject: &X509NameRef,
        key: &PKeyRef<T>,
        now_ms: i64,
    ) -> Result<X509Builder, ErrorStack> {
        let mut made = started(subject, self.ca.subject_name(), key, now_ms, DAYS)?;
        made.append_extension(BasicConstraints::new().critical().build()?)?;
        made.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        let ours = SubjectKeyIdentifier::new().build(&made.x509v3_context(Some(&self.ca), None))?;
        made.append_extension(ours)?;
        let theirs =
            AuthorityKeyIdentifier::new().keyid(true).build(&made.x509v3_context(Some(&self.ca), None))?;
        made.append_extension(theirs)?;
        Ok(made)
    }
}

fn started<T: openssl::pkey::HasPublic>(
    subject: &X509NameRef,
    issuer: &X509NameRef,
    key: &PKeyRef<T>,
    now_ms: i64,
    days: i64,
) -> Result<X509Builder, ErrorStack> {
    let mut made = X509::builder()?;
    made.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::ONE, false)?;
    let serial = serial.to_asn1_integer()?;
    made.set_serial_number(&serial)?;
    made.set_subject_name(subject)?;
    made.set_issuer_name(issuer)?;
    made.set_pubkey(key)?;
    let begins = Asn1Time::from_unix(BEGINS_S)?;
    made.set_not_before(&begins)?;
    let ends = Asn1Time::from_unix((now_ms + days * DAY_MS) / 1000)?;
    made.set_not_after(&ends)?;
    Ok(made)
}

fn make_ca(now_ms: i64) -> Result<(X509, PKey<Private>), ErrorStack> {
    let key = new_key()?;
    // Told apart by people who have several in their browser.
    let called = format!("Lectern hub {}", chance::hex::<4>());
    let subject = name(&[(Nid::COMMONNAME, &called)])?;
    let mut made = started(&subject, &subject, &key, now_ms, CA_DAYS)?;
    made.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    made.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    let own = SubjectKeyIdentifier::new().build(&made.x509v3_context(None, None))?;
    made.append_extension(own)?;
    made.sign(&key, MessageDigest::sha256())?;
    Ok((made.build(), key))
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn name(entries: &[(Nid, &str)]) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    for (nid, text) in entries {
        name.append_entry_by_nid(*nid, text)?;
    }
    Ok(name.build())
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    names.sort();
    names.dedup();
    names
}

/// The names a certificate is for, sorted.
fn names_of(cert: &X509Ref) -> Vec<String> {
    let names = cert.subject_alt_names().into_iter().flatten();
    let names = names.filter_map(|name| {
        let address = name.ipaddress().and_then(|bytes| {
            let four = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from).ok();
            four.or_else(|| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from).ok())
        });
        address.map(|a| a.to_string()).or_else(|| name.dnsname().map(str::to_owned))
    });
    sorted(&names.collect::<Vec<_>>())
}

/// A certificate's serial number, as the table has it.
///
/// # Errors
/// OpenSSL's.
pub fn serial(cert: &X509Ref) -> Result<String, ErrorStack> {
    Ok(cert.serial_number().to_bn()?.to_hex_str()?.to_ascii_lowercase())
}

/// The SHA-256 of a certificate, as browsers show it.
fn fingerprint(cert: &X509Ref) -> Result<String, ErrorStack> {
    let digest = cert.digest(MessageDigest::sha256())?;
    Ok(digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
}

/// When a certificate ends, Unix milliseconds.
#[must_use]
pub fn ends_ms(cert: &X509Ref) -> Option<i64> {
    let since = Asn1Time::from_unix(0).ok()?.diff(cert.not_after()).ok()?;
    Some((i64::from(since.days) * 86_400 + i64::from(since.secs)) * 1000)
}

/// Certificates and key that somebody else made, from their files.
///
/// # Errors
/// A sentence: which file, and what about it.
pub fn given(certificate: &Path, key: &Path) -> Result<Served, String> {
    let odd = |path: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let chain = std::fs::read(certificate).map_err(|e| odd(certificate, &e))?;
    let chain = X509::stack_from_pem(&chain).map_err(|e| odd(certificate, &e))?;
    let secret = std::fs::read(key).map_err(|e| odd(key, &e))?;
    let secret = PKey::private_key_from_pem(&secret).map_err(|e| odd(key, &e))?;
    let public = chain.first().ok_or_else(|| odd(certificate, &"it holds no certificate"))?.public_key();
    let public: PKey<Public> = public.map_err(|e| odd(certificate, &e))?;
    if !public.public_eq(&secret) {
        return Err(odd(
            key,
            &format!("is not the key of the first certificate in {}", certificate.display()),
        ));
    }
    Ok(Served { chain, key: secret })
}

fn tls(what: impl Into<String>) -> impl FnOnce(ErrorStack) -> StoreError {
    let what = what.into();
    move |e| StoreError::io(what)(std::io::Error::other(e))
}

fn keep(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    disk::replace_with_mode(path, bytes, mode).map_err(StoreError::io(format!("writing {}", path.display())))
}

fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, ErrorStack>) -> Result<T, StoreError> {
    let what = || format!("reading {}", path.display());
    let bytes = std::fs::read(path).map_err(StoreError::io(what()))?;
    parse(&bytes).map_err(tls(what()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use openssl::x509::X509ReqBuilder;

    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn request(key: &PKeyRef<Private>) -> String {
        let mut request = X509ReqBuilder::new().expect("a request");
        request.set_pubkey(key).expect("set");
        request.sign(key, MessageDigest::sha256()).expect("signed");
        String::from_utf8(request.build().to_pem().expect("pem")).expect("text")
    }

    #[test]
    fn the_authority_is_made_once_and_its_key_is_its_users_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let first = Authority::open(folder.path(), NOW).expect("made");
        let again = Authority::open(folder.path(), NOW + DAY_MS).expect("read");
        assert_eq!(first.fingerprint().expect("fp"), again.fingerprint().expect("fp"));
        for file in ["ca.key", "server.pem"] {
            first.server(&["hub".into()], NOW).expect("made");
            let mode = std::fs::metadata(folder.path().join("tls").join(file)).expect("there").permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
        }
        let other = tempfile::tempdir().expect("folder");
        Authority::open(other.path(), NOW).expect("made");
        std::fs::copy(other.path().join("tls/ca.key"), folder.path().join("tls/ca.key")).expect("copied");
        let said = Authority::open(folder.path(), NOW).expect_err("refused").to_string();
        assert!(said.contains("backup"), "{said}");
    }

    #[test]
    fn the_hubs_certificate_is_made_anew_for_more_names_and_before_it_ends_and_holds_in_2013() {
        let folder = tempfile::tempdir().expect("folder");
        let authority = Authority::open(folder.path(), NOW).expect("made");
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let number = |names: &[String], now| {
            serial(&authority.server(names, now).expect("made").chain[0]).expect("a number")
        };
        let some = names(&["hub.school", "10.0.0.5", "fe80::1"]);
        let first = number(&some, NOW);
        assert_eq!(number(&names(&["fe80::1", "HUB.school", "10.0.0.5"]), NOW + 200 * DAY_MS), first);
        // Started before its network: rooms call it by the address all the same.
        assert_eq!(number(&names(&["hub.school"]), NOW), first);
        let other = number(&names(&["hub.school", "10.0.0.6"]), NOW);
        assert_ne!(other, first);
        let named = names_of(&authority.server(&some, NOW).expect("kept").chain[0]);
        assert_eq!(named, ["10.0.0.5", "10.0.0.6", "fe80::1", "hub.school"]);
        let later = number(&names(&["hub.school"]), NOW + (DAYS - RENEW_DAYS + 1) * DAY_MS);
        assert_ne!(later, other, "renewed in time");
        let cert = &authority.server(&some, NOW).expect("made").chain[0];
        let dead_battery = Asn1Time::from_unix(1_356_998_400).expect("2013");
        assert!(cert.not_before() < dead_battery && authority.ca.not_before() < dead_battery);
        assert!(ends_ms(cert).expect("ends") - NOW >= (DAYS - 1) * DAY_MS);
    }

    #[test]
    fn only_the_key_is_taken_from_a_request() {
        let folder = tempfile::tempdir().expect("folder");
        let authority = Authority::open(folder.path(), NOW).expect("made");
        let device = DeviceId::new("room-301").expect("id");
        let key = new_key().expect("key");
        let issued = authority.sign(&request(&key), &device, NOW).expect("issued");
        let cert = X509::from_pem(issued.pem.as_bytes()).expect("pem");
        assert!(cert.verify(&authority.ca.public_key().expect("key")).expect("checked"));
        assert!(cert.public_key().expect("key").public_eq(&key));
        let common = cert.subject_name().entries_by_nid(Nid::COMMONNAME).next().expect("a name");
        assert_eq!(common.data().as_slice(), b"room-301");
        assert_eq!(serial(&cert).expect("number"), issued.serial);
        for bad in ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
            assert!(authority.sign(bad, &device, NOW).is_err());
        }
        let rsa = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).expect("rsa")).expect("key");
        assert!(authority.sign(&request(&rsa), &device, NOW).is_err(), "one kind of key");
    }

    #[test]
    fn given_files_that_do_not_belong_together_are_told() {
        let folder = tempfile::tempdir().expect("folder");
        let authority = Authority::open(folder.path(), NOW).expect("made");
        authority.server(&["hub".into()], NOW).expect("made");
        let file = |name: &str| folder.path().join("tls").join(name);
        assert!(given(&file("server.pem"), &file("server.pem")).is_ok());
        assert!(given(&file("server.pem"), &file("ca.key")).err().expect("told").contains("is not the key"));
        assert!(given(&file("ca.key"), &file("ca.key")).err().expect("told").contains("no certificate"));
        assert!(given(&file("nothing"), &file("ca.key")).is_err());
    }
}
