//! Floor 3: rooms enrol, see [`lectern_wire::enrol`]; tokens are made at the [`desk`] and printed by [`cards`]; the command line
//! asks a running hub by [`local`].

pub mod cards;
pub mod desk;
pub mod local;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{ConnectInfo, FromRef, Path, Query, State};
use axum::http::StatusCode;
use lectern_base::{chance, clock};
pub use lectern_wire::enrol::Broker as Address;
use lectern_wire::enrol::{Enrolled, Hello, Renew, Renewed, Wish};
use lectern_wire::sign::PublicKey;
use rusqlite::Connection;
use serde::Deserialize;

use crate::door::Peer;
use crate::door::body::Body;
use crate::door::caller::Caller;
use crate::door::problem::Problem;
use crate::door::routes::{Routes, Who};
use crate::model::attempts::Attempts;
use crate::model::barred::Barred;
use crate::model::bell::Bell;
use crate::store::authority::Authority;
use crate::store::certificates::Came;
use crate::store::tokens::{Standing, Token};
use crate::store::{Store, audit, certificates, device_keys, devices, events, tokens};

/// A device's nonce has 16 bytes, in hexadecimal digits.
const NONCE: usize = 32;

/// What enrolment needs.
#[derive(Debug)]
pub struct Deps {
    /// Rows.
    pub store: Store,
    /// Signs devices' certificates.
    pub authority: Authority,
    /// What rooms check the hub's certificate by; none when their systems know it.
    pub ca: Option<String>,
    /// What receipts and commands are signed with.
    pub hub_key: PublicKey,
    /// Where rooms report to.
    pub broker: Address,
    /// Who was connected as the device before is cut off.
    pub barred: Barred,
    /// Pages follow it.
    pub bell: Bell,
}

/// The stage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Enrol {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    deps: Deps,
    attempts: Mutex<Attempts>,
}

impl std::ops::Deref for Enrol {
    type Target = Deps;
    fn deref(&self) -> &Deps {
        &self.inner.deps
    }
}

impl FromRef<Enrol> for Store {
    fn from_ref(enrol: &Enrol) -> Self {
        enrol.store.clone()
    }
}

/// Its routes.
pub fn routes() -> Routes<Enrol> {
    Routes::below("/api/v1")
        .get(Who::Token, "/enrol/{token}", hello)
        .post(Who::Token, "/enrol/{token}", enrol)
        .post(Who::Device, "/renew", renew)
}

impl Enrol {
    /// The stage.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        Self { inner: Arc::new(Inner { deps, attempts: Mutex::default() }) }
    }

    /// Its router.
    pub fn router(self) -> axum::Router {
        routes().router().with_state(self)
    }

    /// The token of this name. Who names ones that are not there waits after a few.
    async fn token(&self, name: String, peer: &Peer, now: i64) -> Result<Token, Problem> {
        let from = peer.address.ip();
        let attempts = || self.inner.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if !attempts().begin(from, now) {
            let wait = "too many codes that are none came from this address; wait five minutes";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many", wait));
        }
        let found = self.store.read(move |db| tokens::find(db, &name)).await?;
        let token = found.ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "code_unknown",
                "this hub has no card with that code; look at the card again, or ask for a new one",
            )
        })?;
        attempts().right(from);
        Ok(token)
    }
}

fn stands(standing: Standing) -> Problem {
    match standing {
        Standing::Expired => Problem::new(
            StatusCode::GONE,
            "code_expired",
            "this card has expired; ask for a new one at the hub (设备登记)",
        ),
        Standing::Used | Standing::Unused => Problem::conflict(
            "code_used",
            "this card was used already; ask for a new one at the hub (设备登记). If it was not you, tell whoever looks after the hub",
        ),
    }
}

#[derive(Deserialize)]
struct Asked {
    nonce: String,
}

/// Says who the hub is, so that only who knows the code can have said it.
async fn hello(
    State(enrol): State<Enrol>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    Query(Asked { nonce }): Query<Asked>,
) -> Result<Json<Hello>, Problem> {
    let now = clock::wall_ms();
    if nonce.len() != NONCE || !nonce.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(Problem::bad("bad_nonce", format!("a nonce has {NONCE} hexadecimal digits")));
    }
    let token = enrol.token(name, &peer, now).await?;
    let standing = token.standing(now);
    if standing == Standing::Expired {
        return Err(stands(standing));
    }
    // Of one that was used up too, while the device that did it may ask again.
    let code = token.code.ok_or_else(|| stands(standing))?;
    let mut hello = Hello { ca: enrol.ca.clone(), now_ms: now, seal: String::new() };
    hello.seal = code.key().seal(&nonce, &hello);
    Ok(Json(hello))
}

/// Makes the device, or lets another machine take its place.
async fn enrol(
    State(enrol): State<Enrol>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    Body(wish): Body<Wish>,
) -> Result<Json<Enrolled>, Problem> {
    let now = clock::wall_ms();
    let token = enrol.token(name, &peer, now).await?;
    let code = token.code.clone().ok_or_else(|| stands(token.standing(now)))?;
    if !code.key().proven(&wish) {
        let told = "the proof does not fit the code; look at the card again";
        return Err(Problem::new(StatusCode::FORBIDDEN, "bad_proof", told));
    }
    token.lets_in(wish.key, now).map_err(stands)?;
    let issued = enrol.authority.sign(&wish.csr, &token.topics.device, now);
    let issued = issued.map_err(|e| Problem::unsound("bad_csr", e))?;
    let password = chance::hex::<24>();
    let (secret, pem, from) = (password.clone(), issued.pem.clone(), peer.address);
    let made = token.clone();
    let let_in = enrol.store.write(move |db| {
        // Once more, now that nobody else can change it.
        let Some(token) = tokens::find(db, &made.token)? else { return Ok(Err(Standing::Used)) };
        if let Err(standing) = token.lets_in(wish.key, now) {
            return Ok(Err(standing));
        }
        settle(db, &token, &wish, &secret, now)?;
        certificates::retire(db, &token.topics.device, None, "replaced", now)?;
        certificates::add(db, &token.topics.device, &issued, now)?;
        tokens::used(db, &token, wish.key, now)?;
        Ok(Ok(()))
    });
    let_in.await?.map_err(stands)?;
    enrol.barred.bar(token.topics.device.clone());
    enrol.bell.ring();
    tracing::info!(device = %token.topics.device, room = token.room, %from, "a room has enrolled");
    Ok(Json(Enrolled {
        school: token.topics.school,
        device: token.topics.device,
        room: token.room,
        password,
        certificate: pem,
        hub_key: enrol.hub_key,
        broker: enrol.broker.clone(),
        now_ms: now,
    }))
}

/// The device's account, its signing key and what its machine is known by.
fn settle(db: &Connection, token: &Token, wish: &Wish, secret: &str, now: i64) -> rusqlite::Result<()> {
    let id = &token.topics.device;
    if !devices::add(db, &token.topics, &token.room, secret, now)? {
        devices::set_password(db, id, secret)?;
        devices::rename(db, id, &token.room)?;
        let known = devices::find(db, id.as_str())?.and_then(|d| d.key);
        let another = known.is_some_and(|known| known != wish.key);
        if another || certificates::was_elsewhere(db, id, wish.key)? {
            events::begin_anew(db, id)?;
        }
        // What the machine before signed stays signed, and it signs nothing new.
        if another {
            device_keys::release(db, id, now)?;
            audit::note(db, "token", "device_key", id.as_str(), "released", now)?;
        }
    }
    if let Err(why) = device_keys::show(db, id, wish.key, &[], now)? {
        tracing::error!(device = %id, "a released key still stands: {why}");
    }
    devices::pin_machine(db, id, &wish.machine, now)?;
    audit::note(db, "token", "device", id.as_str(), "enrolled", now)
}

/// A certificate in the place of the one it is asked with.
async fn renew(
    State(enrol): State<Enrol>,
    Caller { device, came }: Caller,
    Body(Renew { csr }): Body<Renew>,
) -> Result<Json<Renewed>, Problem> {
    let Came::With(serial) = came else {
        let told = "a certificate is renewed by showing it; a device without one enrols with a card";
        return Err(Problem::new(StatusCode::FORBIDDEN, "no_certificate", told));
    };
    let now = clock::wall_ms();
    let issued = enrol.authority.sign(&csr, &device.id, now).map_err(|e| Problem::unsound("bad_csr", e))?;
    let pem = issued.pem.clone();
    let id = device.id.clone();
    let done = enrol.store.write(move |db| {
        // The one in use goes on, in case the answer is lost; those before it have done their work.
        certificates::retire(db, &id, Some(&serial), "renewed", now)?;
        certificates::add(db, &id, &issued, now)
    });
    done.await?;
    tracing::info!(device = %device.id, "a device has renewed its certificate");
    Ok(Json(Renewed { certificate: pem }))
}
