//! This machine becomes a room's: it meets the hub by the code on a card (see [`lectern_wire::enrol`]), and keeps what it was
//! given. Done by `lectern enrol` or by the first page; the daemon takes it up at its start ([`begin`]) and renews the
//! certificate before it ends ([`renew`]).

pub mod ask;
pub mod keep;
pub mod renew;

use lectern_base::clock;
use url::Url;

use crate::config::enrolled::Enrolled;
use crate::store::{CLOCK_FLOOR, Store, StoreError};

/// The fact that says which enrolment the state goes with.
const FACT: &str = "enrolment";

/// Why a machine did not enrol. The code is for the page, which has the words for it; the sentence for the command line.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// What was typed as the code is none.
    #[error("{0}")]
    Code(#[from] lectern_wire::enrol::BadCode),
    /// What was typed as the address is none.
    #[error("{0:?} is no address of a hub, such as 10.0.0.5:8470; look at the card again")]
    Address(String),
    /// An address that is not of this machine, without TLS.
    #[error(
        "{0} is not this machine, and the password would cross the network for all to read: leave http:// out"
    )]
    Plain(String),
    /// Nobody is there.
    #[error("no hub answers at {0}: {1}; look at the address and the network cable")]
    Unreachable(String, String),
    /// Somebody is there who does not know the code.
    #[error(
        "what answers at {0} is not the hub this card is from, or somebody sits in between; nothing was told to it"
    )]
    Stranger(String),
    /// The hub's own word.
    #[error("{message}")]
    Refused {
        /// Its code.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// It said what cannot be understood.
    #[error("the hub at {0} said what cannot be understood: {1}; it may be of another version")]
    Garbled(String, String),
    /// This machine is a room's already.
    #[error(
        "this machine is enrolled already, as {0}; --again enrols it anew, for a room that moved or a hub that was replaced"
    )]
    Already(String),
    /// Lessons of the room that this machine was until now.
    #[error(
        "{lessons} lessons are not stored at the hub yet, and only {device} can hand them in: wait until the page says \
         可以关机, then enrol as {next} by the same command; for an hour the card is good for this machine once more"
    )]
    Waiting {
        /// How many.
        lessons: usize,
        /// Whose they are.
        device: String,
        /// The room it was to become.
        next: String,
    },
    /// A file, or a key.
    #[error("what the hub gave could not be kept: {0}")]
    Keep(String),
}

impl EnrolError {
    /// For the page.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Code(_) => "code",
            Self::Address(_) => "address",
            Self::Plain(_) => "plain",
            Self::Unreachable(..) => "unreachable",
            Self::Stranger(_) => "stranger",
            Self::Refused { code, .. } => code,
            Self::Garbled(..) => "garbled",
            Self::Already(_) => "already",
            Self::Waiting { .. } => "waiting",
            Self::Keep(_) => "keep",
        }
    }
}

/// The address on a card, as it is called: `10.0.0.5:8470`, `hub.school`, `https://hub.school`; plain only on this machine.
///
/// # Errors
/// [`EnrolError::Address`], [`EnrolError::Plain`].
pub fn address(typed: &str) -> Result<Url, EnrolError> {
    /// Where a hub listens when nobody says otherwise.
    const PORT: u16 = 8470;
    let text: String = typed
        .trim()
        .chars()
        .map(|c| match u32::from(c) {
            wide @ 0xFF01..=0xFF5E => char::from_u32(wide - 0xFEE0).unwrap_or(c),
            _ if c == '。' => '.',
            _ => c,
        })
        .collect();
    let odd = || EnrolError::Address(typed.trim().chars().take(80).collect());
    let bare = !text.contains("://");
    let mut url = Url::parse(&if bare { format!("https://{text}") } else { text }).map_err(|_| odd())?;
    let anonymous = url.username().is_empty() && url.password().is_none();
    let root = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let host = url.host().ok_or_else(odd)?;
    let here = match host {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(ip) => ip.is_loopback(),
        url::Host::Ipv6(ip) => ip.is_loopback(),
    };
    if !anonymous || !root {
        return Err(odd());
    }
    match url.scheme() {
        "https" => {}
        "http" if here => {}
        "http" => return Err(EnrolError::Plain(url.to_string())),
        _ => return Err(odd()),
    }
    if bare && url.port().is_none() {
        url.set_port(Some(PORT)).map_err(|()| odd())?;
    }
    Ok(url)
}

/// What a scanner types, both lines of a card in one: `LECTERN {hub} {code}`.
#[must_use]
pub fn scanned(text: &str) -> Option<(&str, &str)> {
    let mut words = text.split_whitespace();
    let (Some(mark), Some(hub), Some(code), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return None;
    };
    mark.eq_ignore_ascii_case("lectern").then_some((hub, code))
}

/// Whether the state goes with this enrolment; else it is to [`begin`].
///
/// # Errors
/// [`StoreError`].
pub fn is_taken_up(store: &Store, enrolled: &Enrolled) -> Result<bool, StoreError> {
    Ok(store.fact(FACT)?.as_deref() == Some(enrolled.id.as_str()))
}

/// Takes up what enrolment brought: the hub's key in the place of another hub's, and its time, before which no clock is
/// believed. `forget` forgets another hub altogether.
///
/// # Errors
/// [`StoreError`].
pub fn begin(
    store: &Store,
    enrolled: &Enrolled,
    forget: impl FnOnce(&Store) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let key = String::from(enrolled.hub_key);
    if store.fact("hub_key")?.is_some_and(|known| known != key) {
        tracing::warn!(
            "this machine has enrolled at another hub: the keys and the log of the one before are forgotten"
        );
        forget(store)?;
    }
    store.set_fact("hub_key", &key)?;
    let floor = store.fact(CLOCK_FLOOR)?.and_then(|ms| ms.parse().ok()).unwrap_or(0).max(enrolled.hub_ms);
    store.set_fact(CLOCK_FLOOR, &floor.to_string())?;
    clock::raise_floor(floor);
    store.set_fact(FACT, &enrolled.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_people_type_it() {
        let good = |typed: &str| address(typed).expect("an address").to_string();
        assert_eq!(good(" 10.0.0.5:8470 "), "https://10.0.0.5:8470/");
        assert_eq!(good("１０。0.0.5：８４７０"), "https://10.0.0.5:8470/");
        assert_eq!(good("hub.school"), "https://hub.school:8470/");
        assert_eq!(good("https://hub.school"), "https://hub.school/");
        assert_eq!(good("[fd00::5]:8470"), "https://[fd00::5]:8470/");
        assert_eq!(good("http://127.0.0.1:8470"), "http://127.0.0.1:8470/");
        assert!(matches!(address("http://10.0.0.5:8470"), Err(EnrolError::Plain(_))));
        for bad in ["", "ftp://x", "https://u:p@x", "https://x/y", "a b", "https://"] {
            assert!(matches!(address(bad), Err(EnrolError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn a_scanner_types_the_whole_card() {
        assert_eq!(scanned("LECTERN 10.0.0.5:8470 7K2M-9QXR\n"), Some(("10.0.0.5:8470", "7K2M-9QXR")));
        for bad in ["7K2M-9QXR", "LECTERN x", "x y z", "LECTERN a b c"] {
            assert_eq!(scanned(bad), None, "{bad}");
        }
    }
}
