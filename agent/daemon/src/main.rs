//! lectern: the daemon of a classroom machine, and its command line.
//!
//! ```text
//! sense ─▶ store (outbox) ─▶ publish ══ MQTT ══▶ hub
//! button ─▶ record ─▶ recorder (child process) ─▶ take ─▶ evidence (parts) ─▶ upload ══ HTTP ══▶ hub ─▶ receipt ─▶ reclaim
//! ```
//!
//! Floors; a module uses only floors below its own:
//!
//! | floor | modules |
//! |---|---|
//! | 6 | `main`, [`cli`] |
//! | 5 | [`app`]: wires everything top to bottom, tears it down in reverse |
//! | 4 | [`page`]: the teacher's page; [`key`]: a physical key; [`session`]: the helper in a user's session |
//! | 3 | [`sense`], [`publish`], [`record`], [`evidence`], [`upload`], [`reclaim`], [`render`]: one stage each; [`beforehand`], [`afterwards`], [`alarm`], [`home`], [`beside`], [`command`], [`desired`], [`usage`], [`enrol`] |
//! | 2 | [`store`], [`platform`], [`config`] |
//! | 1 | [`model`]: pure types and state machines |
//! | 0 | `lectern_wire`, `lectern_base` |

mod afterwards;
mod alarm;
mod app;
mod beforehand;
mod beside;
mod cli;
mod command;
mod config;
mod desired;
mod enrol;
mod evidence;
mod home;
mod key;
#[cfg(test)]
mod mangled;
mod model;
mod page;
mod platform;
mod publish;
mod reclaim;
mod record;
mod render;
mod sense;
mod session;
mod store;
mod upload;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run().into()
}
