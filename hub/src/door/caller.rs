//! The device that is calling: its account by HTTP Basic and, where it has one, its certificate.

use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Peer;
use super::problem::Problem;
use crate::store::Store;
use crate::store::certificates::{self, Came};
use crate::store::devices::Device;

/// A device that may come in.
pub struct Caller {
    /// Which.
    pub device: Device,
    /// How it came.
    pub came: Came,
}

fn refused() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "the hub does not know this device by this password and certificate; let it enrol at the hub again",
    )
}

impl<S> FromRequestParts<S> for Caller
where
    Store: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok());
        let (scheme, encoded) = header.and_then(|h| h.split_once(' ')).ok_or_else(refused)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(refused());
        }
        let decoded = BASE64.decode(encoded.trim()).ok().and_then(|b| String::from_utf8(b).ok());
        let decoded = decoded.ok_or_else(refused)?;
        let (id, password) = decoded.split_once(':').ok_or_else(refused)?;
        let (id, password) = (id.to_owned(), password.to_owned());
        // Who came in by no door of ours is nobody.
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().ok_or_else(refused)?;
        let came = peer.0.came.clone();
        let shown = came.clone();
        let found =
            Store::from_ref(state).read(move |db| certificates::enter(db, &id, &password, &shown)).await?;
        found.map(|device| Self { device, came }).ok_or_else(refused)
    }
}
