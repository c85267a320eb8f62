//! Makes tokens, as a technician asks for them at the console or at the command line, and shows how they stand.

use std::sync::Arc;

use lectern_base::{chance, clock};
use lectern_wire::enrol::Code;
use lectern_wire::id::SchoolId;
use lectern_wire::topic::Topics;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::model::rooms::{self, Room};
use crate::store::tokens::{self, Standing, Token, Wanted};
use crate::store::{Store, StoreError, audit, devices};

const DAY_MS: i64 = 86_400_000;
/// How long a token holds when nobody says otherwise, days.
pub const DAYS: u32 = 7;
/// The longest.
pub const MOST_DAYS: u32 = 90;
/// The most often one may be used.
pub const MOST_USES: u32 = 20;

/// What tokens are made for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The school.
    pub school: SchoolId,
    /// The rooms, one token each.
    pub rooms: Vec<Room>,
    /// How often each may be used.
    pub uses: u32,
    /// How many days they hold.
    pub days: u32,
    /// Who asks.
    pub who: String,
}

/// Everything that stands on a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The token's name on the network.
    pub token: String,
    /// The room.
    pub room: String,
    /// Its device.
    pub device: String,
    /// Its school.
    pub school: String,
    /// What is typed; gone when it is no longer good for anything.
    pub code: String,
    /// What the room is to call.
    pub hub: String,
    /// By which the hub's authority is known.
    pub fingerprint: String,
    /// Uses that are left.
    pub uses: u32,
    /// How it stands: `unused`, `used`, `expired`.
    pub standing: String,
    /// Until when it holds.
    pub expires_ms: i64,
    /// When it was used.
    pub used_ms: Option<i64>,
}

/// The desk. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    store: Store,
    hub: Arc<dyn Fn() -> String + Send + Sync>,
    fingerprint: String,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("hub", &(self.hub)()).finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk whose cards say this fingerprint, and the address of the hub at that time: its network may come after it.
    #[must_use]
    pub fn new(store: Store, hub: impl Fn() -> String + Send + Sync + 'static, fingerprint: String) -> Self {
        Self { store, hub: Arc::new(hub), fingerprint }
    }

    fn card(&self, token: Token, now: i64) -> Card {
        let standing = match token.standing(now) {
            Standing::Unused => "unused",
            Standing::Used => "used",
            Standing::Expired => "expired",
        };
        let open = token.standing(now) == Standing::Unused;
        Card {
            token: token.token,
            room: token.room,
            device: token.topics.device.to_string(),
            school: token.topics.school.to_string(),
            code: token.code.filter(|_| open).map(|code| code.to_string()).unwrap_or_default(),
            hub: (self.hub)(),
            fingerprint: self.fingerprint.clone(),
            uses: token.uses,
            standing: standing.into(),
            expires_ms: token.expires_ms,
            used_ms: token.used_ms,
        }
    }

    /// Makes a token for each room. A room that has a device already gets one for the same device: another machine takes its
    /// place.
    ///
    /// # Errors
    /// [`StoreError`]; then none is made.
    pub async fn make(&self, wish: Wish) -> Result<Vec<Card>, StoreError> {
        let now = clock::wall_ms();
        let made = self.store.write(move |db| make(db, wish, now)).await?;
        Ok(made.into_iter().map(|token| self.card(token, now)).collect())
    }

    /// Tokens of today and of the last weeks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cards(&self) -> Result<Vec<Card>, StoreError> {
        let now = clock::wall_ms();
        let all = self.store.read(move |db| tokens::all(db, now)).await?;
        Ok(all.into_iter().map(|token| self.card(token, now)).collect())
    }

    /// Takes a token back; false when there is none that could be used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_back(&self, token: String, who: String) -> Result<bool, StoreError> {
        let now = clock::wall_ms();
        let done = self.store.write(move |db| {
            let found = tokens::find(db, &token)?;
            let done = tokens::take_back(db, &token)?;
            if let Some(found) = found.filter(|_| done) {
                audit::note(db, &who, "token", found.topics.device.as_str(), "taken back", now)?;
            }
            Ok(done)
        });
        done.await
    }
}

fn make(db: &Connection, wish: Wish, now: i64) -> rusqlite::Result<Vec<Token>> {
    let known = devices::all(db)?;
    let mut taken: Vec<_> = known.iter().map(|d| d.id.clone()).collect();
    taken.extend(tokens::all(db, now)?.into_iter().map(|t| t.topics.device));
    let days = i64::from(wish.days.clamp(1, MOST_DAYS));
    let mut made = Vec::new();
    for Room { name, device } in wish.rooms {
        let there = known.iter().find(|d| d.school == wish.school && d.room == name).map(|d| d.id.clone());
        let waiting =
            tokens::all(db, now)?.into_iter().find(|t| t.room == name && t.topics.school == wish.school);
        let device = device.or(there).or(waiting.map(|t| t.topics.device));
        let device = device.unwrap_or_else(|| rooms::device_for(&name, |id| taken.contains(id)));
        taken.push(device.clone());
        let topics = Topics { school: wish.school.clone(), device };
        let wanted = Wanted {
            topics: topics.clone(),
            room: name,
            uses: wish.uses.clamp(1, MOST_USES),
            expires_ms: now + days * DAY_MS,
        };
        made.push(tokens::add(db, wanted, Code::new(chance::bytes()), now)?);
        audit::note(db, &wish.who, "token", topics.device.as_str(), "made", now)?;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit;

    #[tokio::test]
    async fn a_room_that_is_known_keeps_its_device_and_a_new_one_gets_its_own() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        store
            .write_now(|db| devices::add(db, &testkit::topics("room-301"), "301教室", "pw", 1))
            .expect("added");
        let desk = Desk::new(store, || "hub:8470".into(), "AB".into());
        let rooms = ["301教室", "302教室", "301"].map(|name| Room { name: name.into(), device: None });
        let wish = Wish {
            school: SchoolId::new("3401000001").expect("id"),
            rooms: rooms.into(),
            uses: 1,
            days: 7,
            who: "admin".into(),
        };
        let made = desk.make(wish.clone()).await.expect("made");
        let ids: Vec<_> = made.iter().map(|c| c.device.as_str()).collect();
        assert_eq!(ids, ["room-301", "room-302", "room-301-2"]);
        let again = desk.make(wish).await.expect("made");
        assert_eq!(again.iter().map(|c| c.device.as_str()).collect::<Vec<_>>(), ids, "asked again, the same");
        let all = desk.cards().await.expect("read");
        assert!(all.len() == 3 && all.iter().all(|c| c.standing == "unused"), "one card a room: {all:#?}");
        assert_ne!(made[0].code, again[0].code);
        assert!(desk.take_back(all[0].token.clone(), "admin".into()).await.expect("done"));
        assert_eq!(desk.cards().await.expect("read").len(), 2);
    }
}
