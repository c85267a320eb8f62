//! Time. Wall time is what people read and may jump; monotonic time only goes forward.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// 2026-01-01: older than any Lectern, so an earlier clock is wrong for certain.
const FIRST_MS: i64 = 1_767_225_600_000;

/// The newest time that was known to be right, Unix milliseconds.
static FLOOR_MS: AtomicI64 = AtomicI64::new(FIRST_MS);

/// What the kernel says of its clock: 0 not asked, 1 not synchronised, 2 synchronised.
static KERNEL: AtomicU8 = AtomicU8::new(0);

/// A time that was right once: no clock before it is believed from now on.
pub fn raise_floor(wall_ms: i64) {
    FLOOR_MS.fetch_max(wall_ms, Ordering::Relaxed);
}

/// What the kernel says of its clock, where somebody could ask it.
pub fn kernel_says(synchronised: Option<bool>) {
    KERNEL.store(synchronised.map_or(0, |yes| 1 + u8::from(yes)), Ordering::Relaxed);
}

/// Unix time in milliseconds, as this machine believes it.
#[must_use]
pub fn wall_ms() -> i64 {
    wall_us().div_euclid(1000)
}

/// Unix time in microseconds: the clock libav's devices stamp with.
#[must_use]
pub fn wall_us() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the one place it is read; by libc, as libav reads it")]
    let now = SystemTime::now();
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, i64::wrapping_neg),
    }
}

/// Time since boot, sleep included. Unlike [`mono`] it can be compared across processes of one boot.
#[must_use]
pub fn boot() -> Duration {
    duration(ClockId::Boottime)
}

/// Monotonic time; its zero means nothing.
#[must_use]
pub fn mono() -> Duration {
    duration(ClockId::Monotonic)
}

fn duration(id: ClockId) -> Duration {
    let t = clock_gettime(id);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// This boot's id, from the kernel; empty where there is none.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

/// Whether a moment that was noted by a wall clock can have been: clocks that a dead battery left behind note none such.
#[must_use]
pub fn can_have_been(wall_ms: i64) -> bool {
    wall_ms >= FIRST_MS
}

/// Whether the wall clock is believable: a time service says it is synchronised, and the year is
/// not one of those a dead battery gives.
#[must_use]
pub fn trusted() -> bool {
    let synchronised =
        std::path::Path::new("/run/systemd/timesync/synchronized").exists() || kernel_synchronised();
    plausible() && synchronised
}

/// Whether the wall clock is at least not one of those a dead battery gives, nor before a time that is known to
/// have been. Enough for the bell: many schools' networks have no time service, and the teacher can put the bell off.
#[must_use]
pub fn plausible() -> bool {
    /// A clock that is set right by a little is not wrong.
    const SLACK_MS: i64 = 60_000;
    wall_ms() >= FLOOR_MS.load(Ordering::Relaxed) - SLACK_MS
}

/// Whether the kernel's clock is disciplined, whoever does it (chrony, ntpd, a hypervisor's agent).
fn kernel_synchronised() -> bool {
    match KERNEL.load(Ordering::Relaxed) {
        0 => {}
        said => return said == 2,
    }
    std::fs::read_to_string("/run/chrony/chronyd.pid").is_ok()
        || std::path::Path::new("/run/ntpd.pid").exists()
}

/// A wall time as people here read it: `2026-09-12 10:30:05`, local time.
#[must_use]
pub fn local_text(wall_ms: i64) -> String {
    local(wall_ms).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A wall time in local time; out-of-range times fall to the epoch.
#[must_use]
pub fn local(wall_ms: i64) -> jiff::Zoned {
    jiff::Timestamp::from_millisecond(wall_ms).unwrap_or_default().to_zoned(jiff::tz::TimeZone::system())
}
