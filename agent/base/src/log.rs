//! Logs: to the journal when systemd runs the program, to the terminal otherwise.

use std::sync::OnceLock;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Changes the filter while the program runs.
type Change = Box<dyn Fn(Targets) -> Result<(), String> + Send + Sync>;

static CHANGE: OnceLock<Change> = OnceLock::new();

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
    if systemd_journal_logger::connected_to_journal() {
        let journal = tracing_journald::layer().map_err(|e| format!("the journal cannot be reached: {e}"))?;
        let journal = journal.with_syslog_identifier(program.to_owned());
        let subscriber = tracing_subscriber::registry().with(filter).with(journal);
        // Not `try_init`: that would take the `log` facade, which belongs to systemd-journal-logger here.
        tracing::subscriber::set_global_default(subscriber).map_err(|e| e.to_string())?;
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
