//! The log of receipts over HTTP (see `lectern_wire::upload`): open to everybody, it tells nothing without salts.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use lectern_wire::log::tile::{Tile, WIDTH};
use lectern_wire::log::{Checkpoint, Consistency};
use lectern_wire::sign::Signed;
use serde::Deserialize;

use super::Receive;
use super::problem::Problem;
use crate::store::{StoreError, log};

/// The newest signed checkpoint.
pub async fn checkpoint(State(receive): State<Receive>) -> Result<Json<Signed<Checkpoint>>, Problem> {
    let newest = receive.deps().store.read(log::newest).await?;
    newest.map(Json).ok_or_else(|| StoreError::Closing.into())
}

/// Which two trees.
#[derive(Debug, Deserialize)]
pub struct Sizes {
    from: String,
    to: String,
}

/// Proof that one tree begins with the other.
pub async fn consistency(
    State(receive): State<Receive>,
    sizes: Result<Query<Sizes>, QueryRejection>,
) -> Result<Json<Consistency>, Problem> {
    let bad = || Problem::bad("bad_sizes", "from and to are numbers of entries, from is not above to");
    let Query(Sizes { from, to }) = sizes.map_err(|_| bad())?;
    let (Ok(from), Ok(to)) = (from.parse::<u64>(), to.parse::<u64>()) else { return Err(bad()) };
    if from > to {
        return Err(bad());
    }
    let found = receive.deps().store.read(move |db| {
        let size = log::size(db)?;
        if to > size {
            return Ok(Err(size));
        }
        log::consistency(db, from, to).map(Ok)
    });
    match found.await? {
        Ok(proof) => Ok(Json(Consistency { from, to, proof })),
        Err(size) => Err(Problem::conflict(
            "log_smaller",
            format!(
                "the log has {size} entries, not {to}; if it was restored from a backup, entries are lost"
            ),
        )),
    }
}

/// A tile's bytes; a full one never changes.
pub async fn tile(State(receive): State<Receive>, Path(path): Path<String>) -> Result<Response, Problem> {
    let missing = || {
        Problem::new(StatusCode::NOT_FOUND, "no_such_tile", "the log has no tile at this path, or not yet")
    };
    let tile = Tile::parse(&path).ok_or_else(missing)?;
    let bytes = receive.deps().store.read(move |db| log::tile(db, tile)).await?.ok_or_else(missing)?;
    let keep = if tile.width == WIDTH { "public, max-age=31536000, immutable" } else { "no-cache" };
    Ok(([(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, keep)], bytes)
        .into_response())
}
