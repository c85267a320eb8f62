//! Signed documents: canonical JSON (RFC 8785) signed with Ed25519 (RFC 8032).
//!
//! A signed document is `{"document": …, "signature": {"alg", "key_id", "value"}}`. The signature
//! is over a context line and the canonical bytes of `document`, so a receipt can never be passed
//! off as a manifest. `key_id` is the first 16 hexadecimal digits of the SHA-256 of the public key.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature as Ed25519Signature, Signer as _, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A kind of document that is signed: its context keeps one kind from passing for another.
pub trait Document: Serialize + DeserializeOwned {
    /// Signed in front of the canonical bytes, for example `lectern manifest v1`.
    const CONTEXT: &'static str;

    /// Hash of the canonical bytes: the document's name everywhere else.
    ///
    /// # Errors
    /// [`BadDocument::NotCanonical`] when a value has no canonical form.
    fn digest(&self) -> Result<Digest, BadDocument> {
        Ok(Digest::of(&canonical(self)?))
    }
}

/// Why a document cannot be signed or is not what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDocument {
    /// A value has no canonical JSON form.
    #[error("the document has no canonical JSON form: {0}")]
    NotCanonical(String),
    /// The algorithm is not Ed25519.
    #[error("the signature algorithm {0:?} is not known, only ed25519 is")]
    Algorithm(String),
    /// Nobody here knows the key.
    #[error("the signing key {0} is not known here")]
    KeyUnknown(String),
    /// The signature is not valid base64 of 64 bytes.
    #[error("the signature is not 64 bytes in base64")]
    Malformed,
    /// The document is not what was signed.
    #[error("the signature of key {0} does not fit the document: it was changed after signing")]
    Altered(String),
}

/// Canonical bytes of a value (RFC 8785).
///
/// # Errors
/// [`BadDocument::NotCanonical`] when a number or key has no canonical form.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, BadDocument> {
    serde_jcs::to_vec(value).map_err(|e| BadDocument::NotCanonical(e.to_string()))
}

/// A document and the signature over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// What is said.
    pub document: T,
    /// Who says it.
    pub signature: Signature,
}

/// A signature as it stands in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Always `ed25519`.
    pub alg: String,
    /// See [`PublicKey::id`].
    pub key_id: String,
    /// 64 bytes, base64.
    pub value: String,
}

/// A public key as it stands in documents: 32 bytes, base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The public half of a signing key.
    #[must_use]
    pub fn of(key: &SigningKey) -> Self {
        Self(key.verifying_key())
    }

    /// First 16 hexadecimal digits of the SHA-256 of the 32 key bytes.
    #[must_use]
    pub fn id(&self) -> String {
        let mut id = Digest::of(self.0.as_bytes()).to_string();
        id.truncate(16);
        id
    }
}

impl TryFrom<String> for PublicKey {
    type Error = BadDocument;
    fn try_from(text: String) -> Result<Self, BadDocument> {
        let bytes = BASE64.decode(text).map_err(|_| BadDocument::Malformed)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| BadDocument::Malformed)?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| BadDocument::Malformed)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        BASE64.encode(key.0.as_bytes())
    }
}

/// The public keys a reader knows, by key id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRing {
    /// Key id to key.
    keys: BTreeMap<String, PublicKey>,
}

impl KeyRing {
    /// Adds a key under its own id.
    pub fn add(&mut self, key: PublicKey) {
        self.keys.insert(key.id(), key);
    }

    /// The key with this id. The id is computed from the key, never believed.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&PublicKey> {
        self.keys.get(id).filter(|key| key.id() == id)
    }

    /// All keys, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }

    /// True when no key is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn message<T: Document>(document: &T) -> Result<Vec<u8>, BadDocument> {
    let mut message = Vec::from(T::CONTEXT);
    message.push(b'\n');
    message.extend(canonical(document)?);
    Ok(message)
}

impl<T: Document> Signed<T> {
    /// Signs a document.
    ///
    /// # Errors
    /// [`BadDocument::NotCanonical`].
    pub fn sign(document: T, key: &SigningKey) -> Result<Self, BadDocument> {
        let value = BASE64.encode(key.sign(&message(&document)?).to_bytes());
        let key_id = PublicKey::of(key).id();
        Ok(Self { document, signature: Signature { alg: "ed25519".into(), key_id, value } })
    }

    /// Checks the signature with a key of the ring.
    ///
    /// # Errors
    /// [`BadDocument`] says which of key, form or content is at fault.
    pub fn verify(&self, ring: &KeyRing) -> Result<&T, BadDocument> {
        if self.signature.alg != "ed25519" {
            return Err(BadDocument::Algorithm(self.signature.alg.clone()));
        }
        let id = &self.signature.key_id;
        let key = ring.get(id).ok_or_else(|| BadDocument::KeyUnknown(id.clone()))?;
        let bytes = BASE64.decode(&self.signature.value).map_err(|_| BadDocument::Malformed)?;
        let signature = Ed25519Signature::from_slice(&bytes).map_err(|_| BadDocument::Malformed)?;
        key.0
            .verify_strict(&message(&self.document)?, &signature)
            .map_err(|_| BadDocument::Altered(id.clone()))?;
        Ok(&self.document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
        n: u64,
    }
    impl Document for Note {
        const CONTEXT: &'static str = "test note v1";
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Other {
        text: String,
        n: u64,
    }
    impl Document for Other {
        const CONTEXT: &'static str = "test other v1";
    }

    fn signed() -> (Signed<Note>, KeyRing) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let mut ring = KeyRing::default();
        ring.add(PublicKey::of(&key));
        (Signed::sign(Note { text: "第3节".into(), n: 3 }, &key).expect("signs"), ring)
    }

    #[test]
    fn a_signed_document_verifies_and_any_change_is_seen() {
        let (signed, ring) = signed();
        assert!(signed.verify(&ring).is_ok());
        let mut changed = signed.clone();
        changed.document.n = 4;
        assert!(matches!(changed.verify(&ring), Err(BadDocument::Altered(_))));
        assert!(matches!(signed.verify(&KeyRing::default()), Err(BadDocument::KeyUnknown(_))));
    }

    #[test]
    fn one_kind_of_document_never_passes_for_another() {
        let (signed, ring) = signed();
        let other = Signed {
            document: Other { text: signed.document.text.clone(), n: signed.document.n },
            signature: signed.signature,
        };
        assert!(matches!(other.verify(&ring), Err(BadDocument::Altered(_))));
    }

    #[test]
    fn canonical_form_sorts_keys_and_drops_spaces() {
        // RFC 8785, section 3.2.3: members are sorted, no white space is left.
        let value: serde_json::Value = serde_json::from_str("{ \"b\": 2, \"a\": [1, true] }").expect("json");
        assert_eq!(canonical(&value).expect("canonical"), br#"{"a":[1,true],"b":2}"#);
    }
}
