//! What is asked of a list that is told in pages: checked, so that it can stand in a link again.

use std::collections::HashMap;

use lectern_wire::id::DeviceId;

/// Which part of a list, of which room, and which page of it.
#[derive(Debug, Clone)]
pub struct Wish {
    /// One of the list's choices.
    pub show: &'static str,
    /// Of one room.
    pub device: Option<DeviceId>,
    /// From 0.
    pub page: u32,
}

impl Wish {
    /// Reads a query; what is no choice is the first.
    pub fn of<const N: usize>(query: &HashMap<String, String>, choices: [&'static str; N]) -> Self {
        let shown = query.get("show").map(String::as_str);
        Self {
            show: choices.into_iter().find(|s| Some(*s) == shown).unwrap_or(choices[0]),
            device: query.get("room").and_then(|r| DeviceId::new(r.as_str()).ok()),
            page: query.get("page").and_then(|p| p.parse().ok()).unwrap_or(0).min(100_000),
        }
    }

    /// The query of a link to another choice of the same room.
    pub fn of_kind(&self, show: &str) -> String {
        self.query(show, 0)
    }

    /// The query of a link to this page.
    pub fn here(&self) -> String {
        self.query(self.show, self.page)
    }

    /// The query of a link to the page before.
    pub fn before(&self) -> String {
        self.query(self.show, self.page.saturating_sub(1))
    }

    /// The query of a link to the next page.
    pub fn after(&self) -> String {
        self.query(self.show, self.page + 1)
    }

    fn query(&self, show: &str, page: u32) -> String {
        let room = self.device.as_ref().map(|d| format!("&room={d}")).unwrap_or_default();
        format!("show={show}{room}&page={page}")
    }
}
