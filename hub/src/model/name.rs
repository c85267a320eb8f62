//! Names of rooms as people give them.

/// A room's name: 1 to 40 characters on one line.
#[must_use]
pub fn room(text: &str) -> Option<String> {
    let text = text.trim();
    let ok = (1..=40).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    ok.then(|| text.to_owned())
}
