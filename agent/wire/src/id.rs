//! Names of things. Every id is checked where it enters, so that it can stand in a topic, a URL
//! and a file name without escaping.

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not usable: 1 to {max} of a-z 0-9 - and _, starting with a letter or digit")]
pub struct BadId {
    what: &'static str,
    text: String,
    max: usize,
}

fn check(what: &'static str, text: &str, max: usize) -> Result<(), BadId> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ok = !text.is_empty()
        && text.len() <= max
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|c| plain(c) || c == b'-' || c == b'_');
    if ok { Ok(()) } else { Err(BadId { what, text: text.chars().take(max + 8).collect(), max }) }
}

macro_rules! id {
    ($name:ident, $what:literal, $max:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text: 1 to the type's limit of `a-z 0-9 - _`.
            ///
            /// # Errors
            /// [`BadId`] names the text and the rule.
            pub fn new(text: impl Into<String>) -> Result<Self, BadId> {
                let text = text.into();
                check($what, &text, $max)?;
                Ok(Self(text))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    LessonId,
    "lesson id",
    40,
    "One lesson: what the teacher means, whatever happens to the machine meanwhile."
);
id!(DeviceId, "device id", 40, "One installed agent. Equals MQTT client id, user name and topic level.");
id!(SchoolId, "school id", 32, "One school, usually the 10-digit 学校标识码.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_escape_its_folder_or_its_topic() {
        for bad in ["", "..", "a/b", "a+b", "#", "A", "-a", "a b", "七", "a\0", &"a".repeat(41)] {
            assert!(LessonId::new(bad).is_err(), "{bad:?} was taken");
        }
        assert!(LessonId::new("20261122-093000-0a1b2c3d4e5f").is_ok());
    }
}
