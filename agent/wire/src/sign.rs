//! Signed documents: canonical JSON (RFC 8785) signed with Ed25519 (RFC 8032).
//!
//! A signed document is `{"document": …, "signature": {"alg", "key_id", "value"}}`. The signature
//! is over a context line and the canonical bytes of `document`, so a receipt can never be passed
//! off as a manifest. `key_id` is the first 16 hexadecimal digits of the SHA-256 of the public key.
//!
//! Signature and digest are of the document as it was received ([`Kept`]), never of what this version made
//! of it: a field that a newer writer added is part of what was signed, is checked, and is handed on.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature as Ed25519Signature, Signer as _, SigningKey, VerifyingKey};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub use crate::canon::canonical;
use crate::canon::{Strict, json};
use crate::digest::Digest;

/// A kind of document that is signed: its context keeps one kind from passing for another.
pub trait Document: Serialize + DeserializeOwned {
    /// Signed in front of the canonical bytes, for example `lectern manifest v1`.
    const CONTEXT: &'static str;
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

/// A document as it was received: its JSON whole, and what this version understands of it. It reads as the
/// latter and cannot be changed; it is hashed, checked and written as the former.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<T> {
    understood: T,
    json: Value,
}

impl<T: Document> Kept<T> {
    /// Keeps a document of our own.
    ///
    /// # Errors
    /// [`BadDocument::NotCanonical`] when a value has no canonical form.
    pub fn new(document: T) -> Result<Self, BadDocument> {
        Ok(Self { json: json(&document)?, understood: document })
    }

    /// Hash of the canonical bytes: the document's name everywhere else.
    ///
    /// # Errors
    /// [`BadDocument::NotCanonical`], never for what was read or made here.
    pub fn digest(&self) -> Result<Digest, BadDocument> {
        Ok(Digest::of(&canonical(&self.json)?))
    }

    /// The JSON, with what this version does not understand.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// What this version understands of it.
    #[must_use]
    pub fn into_understood(self) -> T {
        self.understood
    }

    /// What is signed: the context line and the canonical bytes.
    fn message(&self) -> Result<Vec<u8>, BadDocument> {
        let mut message = Vec::from(T::CONTEXT);
        message.push(b'\n');
        message.extend(canonical(&self.json)?);
        Ok(message)
    }
}

impl<T> std::ops::Deref for Kept<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.understood
    }
}

impl<T> Serialize for Kept<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

impl<'de, T: Document> Deserialize<'de> for Kept<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Strict(json) = Strict::deserialize(deserializer)?;
        let understood = T::deserialize(&json).map_err(D::Error::custom)?;
        Ok(Self { understood, json })
    }
}

/// As what is understood of it; what a newer writer added is no fault.
#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> schemars::JsonSchema for Kept<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(all: &mut schemars::SchemaGenerator) -> schemars::Schema {
        all.subschema_for::<T>()
    }
}

/// A document and the signature over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(bound = "T: Document")]
#[cfg_attr(feature = "schema", schemars(bound = "T: Document + schemars::JsonSchema", rename = "Signed{T}"))]
pub struct Signed<T> {
    /// What is said.
    pub document: Kept<T>,
    /// Who says it.
    pub signature: Signature,
}

/// A signature as it stands in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

impl FromIterator<PublicKey> for KeyRing {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        let mut ring = Self::default();
        keys.into_iter().for_each(|key| ring.add(key));
        ring
    }
}

impl<T: Document> Signed<T> {
    /// Signs a document.
    ///
    /// # Errors
    /// [`BadDocument::NotCanonical`].
    pub fn sign(document: T, key: &SigningKey) -> Result<Self, BadDocument> {
        Self::sign_kept(Kept::new(document)?, key)
    }

    /// Signs a document that was signed before, as it was received.
    ///
    /// # Errors
    /// [`BadDocument::NotCanonical`], never for what was read or made here.
    pub fn sign_kept(document: Kept<T>, key: &SigningKey) -> Result<Self, BadDocument> {
        let value = BASE64.encode(key.sign(&document.message()?).to_bytes());
        let key_id = PublicKey::of(key).id();
        Ok(Self { document, signature: Signature { alg: "ed25519".into(), key_id, value } })
    }

    /// Checks the signature with a key of the ring.
    ///
    /// # Errors
    /// [`BadDocument`] says which of key, form or content is at fault.
    pub fn verify(&self, ring: &KeyRing) -> Result<&Kept<T>, BadDocument> {
        if self.signature.alg != "ed25519" {
            return Err(BadDocument::Algorithm(self.signature.alg.clone()));
        }
        let id = &self.signature.key_id;
        let key = ring.get(id).ok_or_else(|| BadDocument::KeyUnknown(id.clone()))?;
        let bytes = BASE64.decode(&self.signature.value).map_err(|_| BadDocument::Malformed)?;
        let signature = Ed25519Signature::from_slice(&bytes).map_err(|_| BadDocument::Malformed)?;
        key.0
            .verify_strict(&self.document.message()?, &signature)
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
        about: Inner,
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Inner {
        place: String,
    }
    impl Document for Note {
        const CONTEXT: &'static str = "test note v1";
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Other {
        text: String,
        n: u64,
        about: Inner,
    }
    impl Document for Other {
        const CONTEXT: &'static str = "test other v1";
    }
    /// What the next version writes: a field more, and one more inside.
    #[derive(Debug, Serialize, Deserialize)]
    struct Newer {
        text: String,
        n: u64,
        about: Value,
        mood: Value,
    }
    impl Document for Newer {
        const CONTEXT: &'static str = "test note v1";
    }

    fn key() -> (SigningKey, KeyRing) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let ring = [PublicKey::of(&key)].into_iter().collect();
        (key, ring)
    }

    fn signed() -> (Signed<Note>, KeyRing) {
        let (key, ring) = key();
        let about = Inner { place: "301".into() };
        (Signed::sign(Note { text: "第3节".into(), n: 3, about }, &key).expect("signs"), ring)
    }

    /// The document with something else at a place of its JSON.
    fn with(signed: &Signed<Note>, at: &str, value: Value) -> Result<Signed<Note>, serde_json::Error> {
        let mut json = serde_json::to_value(signed).expect("json");
        *json.pointer_mut(at).expect("there") = value;
        serde_json::from_value(json)
    }

    #[test]
    fn a_signed_document_verifies_and_any_change_is_seen() {
        let (signed, ring) = signed();
        assert!(signed.verify(&ring).is_ok());
        let changed = with(&signed, "/document/n", 4.into()).expect("reads");
        assert!(matches!(changed.verify(&ring), Err(BadDocument::Altered(_))));
        assert!(matches!(signed.verify(&KeyRing::default()), Err(BadDocument::KeyUnknown(_))));
        let reordered = r#"{"about":{"place":"301"},"n":3,"text":"第3节"}"#;
        let again: Note = serde_json::from_str(reordered).expect("reads");
        assert_eq!(Kept::new(again).expect("kept").digest(), signed.document.digest());
    }

    #[test]
    fn one_kind_of_document_never_passes_for_another() {
        let (signed, ring) = signed();
        let other: Signed<Other> =
            serde_json::from_value(serde_json::to_value(&signed).expect("json")).expect("reads");
        assert!(matches!(other.verify(&ring), Err(BadDocument::Altered(_))));
    }

    #[test]
    fn what_a_newer_writer_added_is_checked_hashed_and_handed_on() {
        let (key, ring) = key();
        let newer = Newer {
            text: "第3节".into(),
            n: 3,
            about: serde_json::json!({"place": "301", "floor": [3, {"wing": "东"}]}),
            mood: serde_json::json!({"good": true}),
        };
        let newer = Signed::sign(newer, &key).expect("signs");
        let text = serde_json::to_string_pretty(&newer).expect("json");
        let read: Signed<Note> = serde_json::from_str(&text).expect("reads");
        assert_eq!(read.verify(&ring).map(|note| note.about.place.as_str()), Ok("301"));
        assert_eq!(read.document.digest(), newer.document.digest());
        // Handed on twice, in another layout, it is still what was signed.
        let on = serde_json::to_string(&read).expect("json");
        let on: Signed<Note> = serde_json::from_str(&on).expect("reads");
        assert!(on.verify(&ring).is_ok());
        assert_eq!(canonical(&on), canonical(&newer));
        for at in ["/document/about/floor/1/wing", "/document/mood/good"] {
            let changed = with(&read, at, "x".into()).expect("reads");
            assert!(matches!(changed.verify(&ring), Err(BadDocument::Altered(_))), "{at}");
        }
        let cut = text.replace("\"good\": true", "");
        let cut: Signed<Note> = serde_json::from_str(&cut).expect("reads");
        assert!(cut.verify(&ring).is_err(), "nor can it be left out");
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_before_anybody_has_to_choose() {
        let (signed, _) = signed();
        let text = serde_json::to_string(&signed).expect("json").replace("\"n\":3", "\"n\":3,\"n\":3");
        assert!(serde_json::from_str::<Signed<Note>>(&text).is_err());
    }
}
