//! What all three programs need from the machine, once: time, chance, durable files, logs, exit codes.
//!
//! Knows nothing of lessons or devices. [`clock`] and [`chance`] hold the only places where the
//! wall clock, the monotonic clock and the random source are read; clippy refuses them elsewhere.

pub mod chance;
pub mod clock;
pub mod disk;
pub mod exit;
pub mod log;
#[cfg(any(test, feature = "mangle"))]
pub mod mangle;
pub mod panics;
pub mod papers;
