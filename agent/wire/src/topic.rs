//! MQTT topics: one constructor and one parser for each.
//!
//! `lectern/v1/{school}/{device}/…`; the device id is a whole level, so a broker's ACL can bind it
//! to the client that connected.

use crate::id::{DeviceId, SchoolId};

/// First two levels of every topic.
pub const ROOT: &str = "lectern/v1";

/// What a topic below a device is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// Retained; also the last will.
    State,
    /// Retained inventory.
    Info,
    /// Live measurements of a group.
    Measurement(String),
    /// Back-filled measurements of a group, arrays.
    History(String),
    /// An event of a type.
    Event(String),
    /// Retained: the newest signed head of the part chain of what is being recorded; see [`crate::chain`].
    Chain,
    /// A retained alarm of a code.
    Alarm(crate::alarm::Code),
    /// Down: a command, by its id.
    CommandRequest(String),
    /// What became of a command, by its id.
    CommandResult(String),
    /// Down, retained: what the room is to go by; see [`crate::desired`].
    Desired,
    /// Retained: what the room made of it.
    Reported,
    /// Down: the hub has stored everything of this class up to a sequence number.
    Ack(String),
}

/// The topics of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// The school level.
    pub school: SchoolId,
    /// The device level.
    pub device: DeviceId,
}

impl Topics {
    /// The topic of a leaf below this device.
    #[must_use]
    pub fn of(&self, leaf: &Leaf) -> String {
        let base = format!("{ROOT}/{}/{}", self.school, self.device);
        match leaf {
            Leaf::State => format!("{base}/state"),
            Leaf::Info => format!("{base}/info"),
            Leaf::Measurement(group) => format!("{base}/m/{group}"),
            Leaf::History(group) => format!("{base}/h/{group}"),
            Leaf::Event(kind) => format!("{base}/e/{kind}"),
            Leaf::Chain => format!("{base}/chain"),
            Leaf::Alarm(code) => format!("{base}/a/{}", code.name()),
            Leaf::CommandRequest(id) => format!("{base}/cmd/req/{id}"),
            Leaf::CommandResult(id) => format!("{base}/cmd/res/{id}"),
            Leaf::Desired => format!("{base}/cfg/desired"),
            Leaf::Reported => format!("{base}/cfg/reported"),
            Leaf::Ack(class) => format!("{base}/ack/{class}"),
        }
    }

    /// The filters for everything the hub sends down to this device.
    #[must_use]
    pub fn down(&self) -> [String; 3] {
        ["ack/+", "cmd/req/+", "cfg/desired"]
            .map(|rest| format!("{ROOT}/{}/{}/{rest}", self.school, self.device))
    }
}

/// Reads a topic; `None` when it is not one of ours or a level is not a proper name.
#[must_use]
pub fn parse(topic: &str) -> Option<(Topics, Leaf)> {
    let rest = topic.strip_prefix(ROOT)?.strip_prefix('/')?;
    let mut levels = rest.split('/');
    let school = SchoolId::new(levels.next()?).ok()?;
    let device = DeviceId::new(levels.next()?).ok()?;
    let leaf = match (levels.next()?, levels.next(), levels.next()) {
        ("cmd", Some(way), Some(id)) => {
            let id = crate::command::is_id(id).then(|| id.to_owned()).filter(|_| levels.next().is_none())?;
            match way {
                "req" => Leaf::CommandRequest(id),
                "res" => Leaf::CommandResult(id),
                _ => return None,
            }
        }
        ("state", None, None) => Leaf::State,
        ("info", None, None) => Leaf::Info,
        ("m", Some(group), None) => Leaf::Measurement(name(group)?),
        ("h", Some(group), None) => Leaf::History(name(group)?),
        ("e", Some(kind), None) => Leaf::Event(name(kind)?),
        ("chain", None, None) => Leaf::Chain,
        ("a", Some(code), None) => Leaf::Alarm(crate::alarm::Code::from_name(code)?),
        ("cfg", Some("desired"), None) => Leaf::Desired,
        ("cfg", Some("reported"), None) => Leaf::Reported,
        ("ack", Some(class), None) => Leaf::Ack(name(class)?),
        _ => return None,
    };
    Some((Topics { school, device }, leaf))
}

/// Group, event type and class names: 1 to 32 of `a-z 0-9 _`.
fn name(text: &str) -> Option<String> {
    let ok = (1..=32).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    ok.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_reads_back_as_itself() {
        let topics = Topics {
            school: SchoolId::new("3401000001").expect("id"),
            device: DeviceId::new("room-301").expect("id"),
        };
        for leaf in [
            Leaf::State,
            Leaf::Info,
            Leaf::Measurement("sys".into()),
            Leaf::History("rec".into()),
            Leaf::Event("lesson".into()),
            Leaf::Chain,
            Leaf::Desired,
            Leaf::Reported,
            Leaf::Alarm(crate::alarm::Code::Hot),
            Leaf::Ack("event".into()),
            Leaf::CommandRequest("0123456789abcdef".into()),
            Leaf::CommandResult("0123456789abcdef".into()),
        ] {
            assert_eq!(parse(&topics.of(&leaf)), Some((topics.clone(), leaf)));
        }
    }

    #[test]
    fn what_is_not_ours_is_nobodys() {
        for bad in [
            "",
            "lectern/v1",
            "lectern/v1/s/d",
            "lectern/v2/s/d/state",
            "lectern/v1/s/d/m",
            "lectern/v1/s/d/m/a/b",
            "lectern/v1/s/../state",
            "lectern/v1/s/d/m/A",
            "lectern/v1/s/d/a/nonsense",
            "lectern/v1/s/d/cfg",
            "lectern/v1/s/d/cfg/other",
            "lectern/v1/s/d/cfg/desired/x",
            "lectern/v1/s/d/cmd/req/x",
            "lectern/v1/s/d/cmd/req/0123456789abcdef/x",
            "lectern/v1/s/d/cmd/run/0123456789abcdef",
            "$SYS/x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
