//! The nouns: pure values and state machines. No files, no sockets, no clock.

pub mod alarm;
pub mod answer;
pub mod clip;
pub mod home;
pub mod key;
pub mod lesson;
pub mod profile;
pub mod projector;
pub mod reading;
pub mod rules;
pub mod schedule;
pub mod scheme;
pub mod status;
pub mod telling;
pub mod timetable;
pub mod trust;
pub mod usage;
