//! Narrow seams to the operating system.

pub mod host;
pub mod identity;
pub mod machine;
pub mod notify;
