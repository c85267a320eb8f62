//! The hub's signing keys as this device knows them.
//!
//! A word that is signed with another key may be the same hub's with a new one. Only the hub itself can tell, over HTTP
//! ([`crate::upload`]): until it was asked, such a word waits; then it is accepted or refused for good.

use std::sync::{Mutex, PoisonError};

use lectern_wire::sign::{BadDocument, KeyRing, PublicKey};

use super::{Store, StoreError};

/// The fact that lists the keys of forgotten hubs.
const FORMER: &str = "former_hub_keys";

/// Whether the hub is asked for its key.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    #[default]
    None,
    /// Somebody waits for it.
    Raised,
    /// It was asked since.
    Settled,
}

/// Part of the store.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<Doubt>);

impl Store {
    /// The key that counts: what the hub says now is signed with it. Empty before a hub was met.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn hub_key(&self) -> Result<KeyRing, StoreError> {
        let known = self.fact("hub_key")?.map(PublicKey::try_from).transpose();
        Ok(known.map_err(|e| impossible(&e))?.into_iter().collect())
    }

    /// Every key of the hub this device knows: the one that counts, and those that led to it. What they signed before
    /// stays signed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn hub_ring(&self) -> Result<KeyRing, StoreError> {
        let mut ring = self.hub_key()?;
        self.listed("hub_keys")?.into_iter().for_each(|key| ring.add(key));
        Ok(ring)
    }

    /// Keys of hubs that were forgotten. They vouch for nothing new, nor that a lesson is still anywhere; what they signed can
    /// still be checked by people.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn former_hubs(&self) -> Result<Vec<PublicKey>, StoreError> {
        self.listed(FORMER)
    }

    /// Forgets the hub's keys, but for [`Self::former_hubs`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_hub_keys(&self) -> Result<(), StoreError> {
        let mut former: KeyRing = self.former_hubs()?.into_iter().collect();
        self.hub_ring()?.iter().for_each(|key| former.add(*key));
        let former: Vec<_> = former.iter().collect();
        let text = serde_json::to_string(&former).map_err(|e| impossible(&e))?;
        self.set_fact(FORMER, &text)?;
        self.forget("hub_key")?;
        self.forget("hub_keys")
    }

    fn listed(&self, fact: &str) -> Result<Vec<PublicKey>, StoreError> {
        let text = self.fact(fact)?.unwrap_or_else(|| "[]".into());
        serde_json::from_str(&text).map_err(|e| impossible(&e))
    }

    /// Whether a word that does not verify is to wait, because its signer may be the hub with a new key.
    pub fn awaits_hub_key(&self, fault: &BadDocument) -> bool {
        if !matches!(fault, BadDocument::KeyUnknown(_)) {
            return false;
        }
        let mut doubt = self.0.doubts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *doubt == Doubt::Settled {
            *doubt = Doubt::None;
            return false;
        }
        *doubt = Doubt::Raised;
        self.bells().upload.notify_one();
        true
    }

    /// Whether somebody waits for the hub to be asked.
    #[must_use]
    pub fn doubts_hub_key(&self) -> bool {
        *self.0.doubts.0.lock().unwrap_or_else(PoisonError::into_inner) == Doubt::Raised
    }

    /// The hub was asked: who waits looks again.
    pub fn hub_key_asked(&self) {
        let mut doubt = self.0.doubts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *doubt == Doubt::Raised {
            *doubt = Doubt::Settled;
            self.bells().command.notify_one();
            self.bells().desired.notify_one();
        }
    }
}

fn impossible(why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Impossible(format!("the remembered hub keys: {why}"))
}
