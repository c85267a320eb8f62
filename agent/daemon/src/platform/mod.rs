//! Narrow seams to the operating system.

pub mod bus;
pub mod host;
pub mod http;
pub mod identity;
pub mod input;
pub mod logind;
pub mod machine;
pub mod memory;
pub mod notify;
pub mod onvif;
pub mod pjlink;
pub mod plain;
pub mod power;
pub mod recorder;
pub mod rest;
pub mod tls;
pub mod volume;
