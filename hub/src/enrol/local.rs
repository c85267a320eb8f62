//! How the command line asks a running hub for tokens: a socket in the data folder, that only the hub's user and root can open.
//! A state folder has one owner, so while the hub runs nobody else writes there.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use lectern_wire::id::{DeviceId, SchoolId};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::desk::{Card, Desk, Wish};
use crate::model::rooms::Room;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Tokens for these rooms: name, and device where a certain one is wanted.
    Make {
        /// The school.
        school: SchoolId,
        /// The rooms.
        rooms: Vec<(String, Option<DeviceId>)>,
        /// How often each may be used.
        uses: u32,
        /// How many days they hold.
        days: u32,
    },
    /// How tokens stand.
    List,
    /// Takes the unused tokens of this device back.
    TakeBack(DeviceId),
}

/// Where the socket stands.
#[must_use]
pub fn path(data: &Path) -> PathBuf {
    data.join("hub.sock")
}

/// Opens the socket; one that an ended hub left is replaced. The caller owns the folder.
///
/// # Errors
/// What the system says.
pub fn open(data: &Path) -> io::Result<UnixListener> {
    let path = path(data);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until told to stop; takes the socket away then.
///
/// # Errors
/// What the system says of the socket.
pub async fn serve(listener: UnixListener, desk: Desk, stop: CancellationToken) -> io::Result<()> {
    let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
    let router = Router::new().route("/tokens", post(ask)).with_state(desk);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    path.map_or(Ok(()), std::fs::remove_file)
}

async fn ask(
    State(desk): State<Desk>,
    Json(ask): Json<Ask>,
) -> Result<Json<Vec<Card>>, (StatusCode, String)> {
    let outcome = answer(&desk, ask).await;
    outcome.map(Json).map_err(|sentence| (StatusCode::UNPROCESSABLE_ENTITY, sentence))
}

/// What the desk answers; the command line calls it where no hub runs.
///
/// # Errors
/// A sentence.
pub async fn answer(desk: &Desk, ask: Ask) -> Result<Vec<Card>, String> {
    let who = "command line".to_owned();
    match ask {
        Ask::Make { school, rooms, uses, days } => {
            let rooms = rooms.into_iter().map(|(name, device)| Room { name, device }).collect();
            desk.make(Wish { school, rooms, uses, days, who }).await.map_err(|e| e.to_string())
        }
        Ask::List => desk.cards().await.map_err(|e| e.to_string()),
        Ask::TakeBack(device) => {
            let all = desk.cards().await.map_err(|e| e.to_string())?;
            let mut gone = Vec::new();
            for card in all.into_iter().filter(|c| c.device == device.as_str() && c.standing == "unused") {
                if desk.take_back(card.token.clone(), who.clone()).await.map_err(|e| e.to_string())? {
                    gone.push(card);
                }
            }
            Ok(gone)
        }
    }
}

/// Asks a running hub.
///
/// # Errors
/// A sentence.
pub async fn call(data: &Path, ask: &Ask) -> Result<Vec<Card>, String> {
    let path = path(data);
    let client = reqwest::Client::builder().unix_socket(path.clone()).timeout(PATIENCE).build();
    let said = |e: reqwest::Error| {
        format!(
            "the running hub cannot be asked at {}: {}; run this as root or as the hub's user",
            path.display(),
            e.without_url()
        )
    };
    // The name is nobody's: the socket is the address.
    let request = client.map_err(said)?.post("http://hub/tokens").json(ask);
    let response = request.send().await.map_err(said)?;
    if !response.status().is_success() {
        return Err(response.text().await.map_err(said)?);
    }
    response.json().await.map_err(said)
}
