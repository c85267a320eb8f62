//! Logs: to the journal when systemd runs the program, to the terminal otherwise.

use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Changes the filter while the program runs.
type Change = Box<dyn Fn(Targets) -> Result<(), String> + Send + Sync>;

static CHANGE: OnceLock<Change> = OnceLock::new();

/// Gives the journal's layer the fields of the moment.
type Refit = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

static REFIT: OnceLock<Refit> = OnceLock::new();

/// What every line says beside its own fields, in the order it was learnt.
static FIELDS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The journal reads a new field's name from `_A-Z0-9`; what is handed on is `NAME=value`, a line each.
const HANDED_ON: &str = "LECTERN_LOG_FIELDS";

/// From now on every line carries this field, such as `ROOM=301` and `LESSON=…`: what `journalctl ROOM=301` looks for.
pub fn always(name: &str, value: &str) {
    {
        let mut fields = FIELDS.lock().unwrap_or_else(PoisonError::into_inner);
        fields.retain(|(old, _)| old != name);
        fields.push((name.to_owned(), value.replace(char::is_control, " ")));
    }
    if let Some(Err(e)) = REFIT.get().map(|refit| refit()) {
        tracing::warn!("the journal's fields could not be changed: {e}");
    }
}

/// The fields of every line, for a program that this one starts: the value of `LECTERN_LOG_FIELDS`.
#[must_use]
pub fn fields() -> Option<String> {
    let fields = FIELDS.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn journal(program: &str) -> Result<tracing_journald::Layer, String> {
    let layer = tracing_journald::layer().map_err(|e| format!("the journal cannot be reached: {e}"))?;
    let fields = FIELDS.lock().unwrap_or_else(PoisonError::into_inner);
    // Without a prefix: a line about a lesson has LESSON=, as everything else about it.
    Ok(layer
        .with_syslog_identifier(program.to_owned())
        .with_field_prefix(None)
        .with_custom_fields(fields.iter().map(|(name, value)| (name, value))))
}

/// What is said unless somebody wants otherwise: of libraries less.
fn filter(level: &str) -> Result<Targets, String> {
    let text = format!("{level},rmqtt=warn,rmqtt_net=warn,rumqttc=warn,hyper=info,h2=info");
    text.parse().map_err(|e| format!("{level:?} is no level: {e}"))
}

/// Writes more or less from now on, until the program ends: `info` or `debug`.
///
/// # Errors
/// A sentence when logs are not set up.
pub fn set_level(level: &str) -> Result<(), String> {
    let change = CHANGE.get().ok_or("logs are not set up")?;
    change(filter(level)?)
}

/// Sets logs up once, before anything else. `LECTERN_LOG` chooses what is said (default `info`).
///
/// Own events reach the journal with their fields; libraries that speak the older `log` facade reach it
/// through systemd-journal-logger.
///
/// # Errors
/// A sentence when logs are set up already or the filter cannot be read.
pub fn start(program: &'static str) -> Result<(), String> {
    let filter = match std::env::var("LECTERN_LOG") {
        Ok(text) => {
            text.parse::<Targets>().map_err(|e| format!("LECTERN_LOG {text:?} cannot be read: {e}"))?
        }
        Err(_) => filter("info")?,
    };
    let (filter, handle) = reload::Layer::new(filter);
    for (name, value) in
        std::env::var(HANDED_ON).unwrap_or_default().lines().filter_map(|l| l.split_once('='))
    {
        always(name, value);
    }
    if systemd_journal_logger::connected_to_journal() {
        let (journal, refit) = reload::Layer::new(journal(program)?);
        let subscriber = tracing_subscriber::registry().with(filter).with(journal);
        // Not `try_init`: that would take the `log` facade, which belongs to systemd-journal-logger here.
        tracing::subscriber::set_global_default(subscriber).map_err(|e| e.to_string())?;
        REFIT.get_or_init(|| {
            Box::new(move || refit.reload(self::journal(program)?).map_err(|e| e.to_string()))
        });
        let logger = systemd_journal_logger::JournalLog::new().map_err(|e| e.to_string())?;
        logger.with_syslog_identifier(program.to_owned()).install().map_err(|e| e.to_string())?;
        log::set_max_level(log::LevelFilter::Warn);
    } else {
        // A recorder may outlive whoever reads its terminal: a broken pipe must not panic.
        let terminal = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .log_internal_errors(false);
        tracing_subscriber::registry().with(filter).with(terminal).try_init().map_err(|e| e.to_string())?;
    }
    // Set once, as the subscriber above.
    CHANGE.get_or_init(|| Box::new(move |filter| handle.reload(filter).map_err(|e| e.to_string())));
    Ok(())
}
