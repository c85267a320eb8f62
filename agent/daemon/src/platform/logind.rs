//! Who is logged in and whether they are at it, as far as logind knows.
//!
//! A desktop may tell logind that nobody is there (`IdleHint`), and many never do. A hint that says "idle" is believed;
//! that it is absent proves nothing.

use super::bus::{Bus, Method, Value};
use super::host::Host;

const SERVICE: &str = "org.freedesktop.login1";

/// A session with a desktop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// Whose.
    pub uid: u32,
    /// Whether it is the one that is shown on its seat.
    pub active: bool,
    /// Whether its screen is locked.
    pub locked: bool,
    /// Whether its desktop says that nobody is there.
    pub idle: bool,
    /// Since when, Unix microseconds; 0 when it does not say so.
    pub idle_since_us: u64,
}

/// The graphical sessions of people: those of a login screen, of terminals and of other machines are none.
///
/// # Errors
/// A sentence: why logind could not be asked.
pub fn sessions(host: &Host) -> Result<Vec<Session>, String> {
    let mut bus = Bus::connect(host)?;
    let list = Method {
        service: SERVICE,
        path: "/org/freedesktop/login1",
        interface: "org.freedesktop.login1.Manager",
        name: "ListSessions",
        start: false,
    };
    let all = bus.call(&list, &[])?;
    let mut found = Vec::new();
    for row in all.items() {
        let [.., path] = row.items() else { continue };
        let Some(path) = path.text() else { continue };
        let get = Method {
            service: SERVICE,
            path,
            interface: "org.freedesktop.DBus.Properties",
            name: "GetAll",
            start: false,
        };
        // One that ended since the list was made is none.
        match bus.call(&get, &["org.freedesktop.login1.Session"]) {
            Ok(all) => found.extend(read(&all)),
            Err(e) => tracing::debug!(path, "a session says nothing of itself: {e}"),
        }
    }
    Ok(found)
}

fn read(all: &Value) -> Option<Session> {
    let text = |name: &str| all.get(name).and_then(Value::text).unwrap_or_default();
    let number = |name: &str| all.get(name).and_then(Value::number).unwrap_or(0.0);
    let graphical = matches!(text("Type"), "x11" | "wayland" | "mir");
    if text("Class") != "user" || !graphical || text("State") == "closing" {
        return None;
    }
    let user = all.get("User").map(Value::items)?;
    Some(Session {
        uid: user.first().and_then(Value::number)? as u32,
        active: number("Active") != 0.0,
        locked: number("LockedHint") != 0.0,
        idle: number("IdleHint") != 0.0,
        idle_since_us: if number("IdleHint") == 0.0 { 0 } else { number("IdleSinceHint") as u64 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(of: &[(&str, Value)]) -> Option<Session> {
        read(&Value::Map(of.iter().map(|(k, v)| (Value::Text((*k).into()), v.clone())).collect()))
    }

    #[test]
    fn only_people_at_a_desktop_are_sessions() {
        let text = |t: &str| Value::Text(t.into());
        let user = Value::List(vec![Value::Number(1000.0), text("/org/freedesktop/login1/user/_1000")]);
        let mut of = vec![
            ("Type", text("x11")),
            ("Class", text("user")),
            ("User", user),
            ("Active", Value::Number(1.0)),
            ("IdleHint", Value::Number(1.0)),
            ("IdleSinceHint", Value::Number(1e15)),
        ];
        let session = says(&of).expect("a session");
        assert_eq!((session.uid, session.active, session.idle, session.locked), (1000, true, true, false));
        assert_eq!(session.idle_since_us, 1_000_000_000_000_000);
        of[1].1 = text("greeter");
        assert_eq!(says(&of), None, "the login screen");
        of[1].1 = text("user");
        of[0].1 = text("tty");
        assert_eq!(says(&of), None, "a terminal");
        assert_eq!(says(&[]), None);
    }
}
