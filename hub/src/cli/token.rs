//! `lectern-hub token`: cards that rooms enrol with.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use lectern_base::clock;
use lectern_base::exit::Exit;
use lectern_wire::id::{DeviceId, SchoolId};

use super::{End, Settings, load, store_end};
use crate::config::Config;
use crate::door::names;
use crate::enrol::cards;
use crate::enrol::desk::{Card, DAYS, Desk, MOST_DAYS, MOST_USES};
use crate::enrol::local::{self, Ask};
use crate::model::rooms;
use crate::store::authority::Authority;
use crate::store::{Store, StoreError};

/// What is asked of tokens. Works while the hub runs, and while it does not.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token for each room and prints its card: the hub's address, a code, and the same for scanners.
    New(New),
    /// Shows how tokens stand: unused, used, expired.
    List(List),
    /// Takes back the unused token of a device: its card is good for nothing from then on.
    Remove(Remove),
}

/// `token new`
#[derive(Debug, Args)]
pub struct New {
    #[command(flatten)]
    settings: Settings,
    /// The school's id, usually the 10-digit 学校标识码.
    #[arg(long)]
    school: String,
    /// A spreadsheet, XLSX or CSV, with a room in each row; a second column, 设备编号, may say the device's id.
    #[arg(long, value_name = "FILE", required_unless_present = "room", conflicts_with = "room")]
    rooms: Option<PathBuf>,
    /// One room, for example 301教室; may be given more than once.
    #[arg(long)]
    room: Vec<String>,
    /// With one room: its device's id, instead of one made of the room's name.
    #[arg(long, requires = "room")]
    device: Option<String>,
    /// Days a card holds.
    #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_DAYS)))]
    days: u32,
    /// How often a card may be used.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_USES)))]
    uses: u32,
    /// Also writes the cards as a page to print and cut.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// `token list`
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    settings: Settings,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// `token remove`
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    settings: Settings,
    /// The device's id.
    device: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

fn bad(e: impl std::fmt::Display) -> End {
    (e.to_string(), Exit::BadSettings)
}

/// Does what is asked.
pub fn run(command: TokenCommand) -> Result<(), End> {
    match command {
        TokenCommand::New(wish) => load(&wish.settings).and_then(|config| new(&config, &wish)),
        TokenCommand::List(wish) => load(&wish.settings).and_then(|config| {
            let found = asked(&config, Ask::List)?;
            said(&found, wish.json, &table(&found))
        }),
        TokenCommand::Remove(wish) => load(&wish.settings).and_then(|config| {
            let device = DeviceId::new(&wish.device).map_err(bad)?;
            let gone = asked(&config, Ask::TakeBack(device))?;
            if gone.is_empty() {
                return Err((format!("{} has no unused token", wish.device), Exit::Refused));
            }
            said(&gone, wish.json, "taken back: that card is good for nothing from now on")
        }),
    }
}

fn new(config: &Config, wish: &New) -> Result<(), End> {
    let school = SchoolId::new(&wish.school).map_err(bad)?;
    let rooms = match &wish.rooms {
        Some(file) => listed(file)?,
        None => named(wish)?,
    };
    let made = asked(config, Ask::Make { school, rooms, uses: wish.uses, days: wish.days })?;
    if let Some(file) = &wish.html {
        let page = cards::page(&config.school, &made, true).map_err(|e| (e.to_string(), Exit::Failed))?;
        let odd = |e: std::io::Error| (format!("{}: {e}", file.display()), Exit::Failed);
        // Codes stand in it.
        lectern_base::disk::replace_with_mode(file, page.as_bytes(), 0o600).map_err(odd)?;
    }
    said(&made, wish.json, cards::text(&made).trim_end())
}

type Rooms = Vec<(String, Option<DeviceId>)>;

fn listed(file: &Path) -> Result<Rooms, End> {
    let bytes = std::fs::read(file).map_err(|e| bad(format!("{}: {e}", file.display())))?;
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let rooms = rooms::read(&name, &bytes).map_err(|faults| bad(faults.join("\n")))?;
    Ok(rooms.into_iter().map(|room| (room.name, room.device)).collect())
}

fn named(wish: &New) -> Result<Rooms, End> {
    let device = wish.device.as_deref().map(DeviceId::new).transpose().map_err(bad)?;
    if device.is_some() && wish.room.len() != 1 {
        return Err(bad("--device is for one --room; name devices of several in a list (--rooms)"));
    }
    let names = wish.room.iter().map(|text| crate::model::name::room(text));
    let names = names.collect::<Option<Vec<_>>>();
    let names = names.ok_or_else(|| bad("a room's name has 1 to 40 characters on one line"))?;
    Ok(names.into_iter().map(|name| (name, device.clone())).collect())
}

/// Asks the running hub; without one, its rows.
fn asked(config: &Config, ask: Ask) -> Result<Vec<Card>, End> {
    let failed = |e: String| (e, Exit::Failed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| failed(format!("the program's threads cannot start: {e}")))?;
    match Store::open(&config.data_dir) {
        Err(StoreError::Locked(_)) => runtime.block_on(local::call(&config.data_dir, &ask)).map_err(failed),
        Err(e) => Err(store_end(&e)),
        Ok(store) => {
            let authority = Authority::open(&config.data_dir, clock::wall_ms()).map_err(|e| store_end(&e))?;
            let fingerprint = authority.fingerprint().map_err(|e| store_end(&e))?;
            let hub = names::on_cards(config, config.http_listen.port());
            runtime
                .block_on(local::answer(&Desk::new(store, move || hub.clone(), fingerprint), ask))
                .map_err(failed)
        }
    }
}

fn said(cards: &[Card], json: bool, text: &str) -> Result<(), End> {
    use std::io::Write as _;
    let failed = |e: &dyn std::fmt::Display| (e.to_string(), Exit::Failed);
    let text = if json { serde_json::to_string(cards).map_err(|e| failed(&e))? } else { text.to_owned() };
    match writeln!(std::io::stdout(), "{text}") {
        // Who reads the first lines alone, by `head`, has what they wanted.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(|e| failed(&e)),
    }
}

/// One line for each.
fn table(cards: &[Card]) -> String {
    if cards.is_empty() {
        return "no tokens; `lectern-hub token new` makes some".into();
    }
    let line = |card: &Card| {
        let when = match (card.standing.as_str(), card.used_ms) {
            ("used", Some(used)) => clock::local_text(used),
            _ => format!("until {}", clock::local_text(card.expires_ms)),
        };
        format!("{:8} {:20} {:16} {:20} {when}", card.standing, card.device, card.room, card.code)
    };
    cards.iter().map(line).collect::<Vec<_>>().join("\n")
}
