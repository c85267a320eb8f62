//! What crosses a process or network border, and nothing else.
//!
//! The agent, the recorder and the hub share these types, so a field cannot mean two things.
//! The crate is pure: no files, no sockets, no clock, no chance. What is absent on purpose:
//! retry rules, paths on disk, database rows, anything one side alone cares about.
//!
//! Versioning: topics and URLs carry `v1`, documents carry `"v": 1`. Fields are only added; a
//! reader ignores fields it does not know, a writer never changes what an old field means.

pub mod afterwards;
pub mod alarm;
mod boxes;
pub mod canon;
pub mod capture;
pub mod chain;
pub mod command;
pub mod desired;
pub mod devices;
pub mod digest;
pub mod enrol;
pub mod fmp4;
pub mod home;
pub mod id;
pub mod joined;
pub mod live;
pub mod log;
pub mod manifest;
pub mod preflight;
pub mod receipt;
pub mod recorder;
pub mod render;
pub mod report;
pub mod rotation;
pub mod session;
pub mod sign;
pub mod telemetry;
pub mod timetable;
pub mod topic;
pub mod trailer;
pub mod upload;
pub mod usage;

/// Bytes in a part of a take; only the last part of a take may be shorter.
/// One slicing serves hashing, upload, resume and verification.
pub const PART_SIZE: u64 = 8 * 1024 * 1024;
