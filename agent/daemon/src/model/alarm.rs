//! From where on something is wrong with the machine.

/// `[alarm]` in the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Hottest sensor, °C.
    pub temperature_celsius: u32,
    /// Minutes of lesson that fit on the disk.
    pub disk_minutes: u32,
    /// How full the disk is, percent.
    pub disk_used_pct: u32,
    /// Shortest round trip to the hub since the last sample, milliseconds.
    pub round_trip_ms: u32,
    /// TCP segments that had to be sent again, percent.
    pub resent_pct: u32,
    /// Slowest link that is well, Mbit/s; 0 for any.
    pub link_mbps: u32,
    /// How far the clock is from the hub's, seconds.
    pub clock_off_s: u32,
    /// Whether a display that was seen once must stay connected.
    pub display: bool,
    /// Whether capture devices that nobody registered are told.
    pub unknown_capture: bool,
}
