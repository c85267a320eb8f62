//! Collectors, one file each: a part of the machine and the source that tells about it.
//!
//! A collector reads files below the host's root, or asks a service whose socket lies there, so a captured tree
//! stands in for a machine. It is called from a thread of its own ([`super::rounds`]) and may block.

mod capture;
mod disk;
mod display;
mod heat;
mod memory;
mod network;
mod own;
mod processor;
mod projector;
mod smart;
#[cfg(test)]
mod tests;
mod time;
mod units;
mod wireless;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use capture::{devices, write_register};

use crate::model::projector::Projector;
use crate::model::reading::{Found, Group};
use crate::platform::host::Host;
use crate::store::line::Line;

/// Reads one part of the machine.
pub trait Collector: Send {
    /// What it is called in logs.
    fn name(&self) -> &'static str;

    /// Where its numbers are told.
    fn group(&self) -> Group;

    /// How often at most; zero is every round.
    fn every(&self) -> Duration {
        Duration::ZERO
    }

    /// How long it may take before the others go on without it.
    fn patience(&self) -> Duration {
        Duration::from_secs(3)
    }

    /// Reads. `now` is monotonic; rates are over the time since the last call, absent in the first.
    fn collect(&mut self, host: &Host, now: Duration) -> Found;
}

/// What collectors need to know.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The machine.
    pub host: Host,
    /// The state folder: its volume is measured, and the register of capture devices lies in it.
    pub data_dir: PathBuf,
    /// The projector, if there is one.
    pub projector: Option<Projector>,
    /// The line to the hub.
    pub line: Arc<Line>,
}

/// The register of capture devices in a state folder.
#[must_use]
pub fn register(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("capture-devices.txt")
}

/// All collectors.
#[must_use]
pub fn all(scope: &Scope) -> Vec<Box<dyn Collector>> {
    let mut all: Vec<Box<dyn Collector>> = vec![
        Box::new(processor::Processor::default()),
        Box::new(memory::Memory::default()),
        Box::new(disk::Volume::of(scope.data_dir.clone())),
        Box::new(disk::Traffic::default()),
        Box::new(heat::Heat::default()),
        Box::new(time::Time::new(scope.line.clone())),
        Box::new(own::Own::default()),
        Box::new(own::OwnMemory),
        Box::new(units::Units),
        Box::new(smart::Smart),
        Box::new(network::Network::default()),
        Box::new(wireless::Wireless::default()),
        Box::new(display::Display),
        Box::new(capture::Capture::registered_in(register(&scope.data_dir))),
    ];
    if let Some(projector) = &scope.projector {
        all.push(Box::new(projector.clone()));
    }
    all
}
