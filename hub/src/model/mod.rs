//! Floor 1: pure types and rules. No files, no sockets, no clock.

pub mod admission;
pub mod arrival;
pub mod attempts;
pub mod barred;
pub mod bell;
pub mod count;
pub mod grant;
pub mod indicators;
pub mod name;
pub mod playlist;
pub mod register;
pub mod repair;
pub mod retention;
pub mod rooms;
pub mod sound;
pub mod timetable;
pub mod watch;
