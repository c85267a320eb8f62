//! What is plugged into the graphics card and whether it is on, from `/sys/class/drm`.
//!
//! A projector behind a splitter may look connected for ever: what the splitter says is what is seen here.

use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::host::Host;

/// The display connectors.
#[derive(Debug, Default)]
pub struct Display;

impl Collector for Display {
    fn name(&self) -> &'static str {
        "display"
    }

    fn group(&self) -> Group {
        Group::Av
    }

    fn collect(&mut self, host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        let (mut connectors, mut connected, mut on) = (0, Vec::new(), 0);
        for name in host.list("sys/class/drm") {
            let folder = format!("sys/class/drm/{name}");
            // A connector has a status, a card has none. Writeback is a connector nothing is plugged into.
            let Some(status) = host.word(&format!("{folder}/status")) else { continue };
            if name.contains("Writeback") {
                continue;
            }
            connectors += 1;
            if status == "connected" {
                let is =
                    |file: &str, word: &str| host.word(&format!("{folder}/{file}")).is_none_or(|w| w == word);
                on += usize::from(is("enabled", "enabled") && is("dpms", "On"));
                connected.push(name.split_once('-').map_or(name.clone(), |(_, name)| name.to_owned()));
            }
        }
        if connectors == 0 {
            found.lack("display_count", "the kernel shows no display connector (no graphics driver)");
            return found;
        }
        found.count("display_count", connected.len());
        found.count("display_on_count", on);
        if !connected.is_empty() {
            found.say("displays", connected.join(", "));
        }
        found
    }
}
