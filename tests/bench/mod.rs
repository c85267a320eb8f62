//! How each figure is measured.
//!
//! ```text
//! recording  the recorder against ffmpeg: processor time, memory, pictures
//!   peer     ffmpeg's command line for the same work
//! copy       a network camera kept as it comes, beside ffmpeg doing so
//! garage     a long lesson to an S3 store beside rclone
//! lessons    the idle daemon, press to picture, stop to receipt
//! links      uploads over slow, long, lossy and shared lines; the lossy one also alone
//! price      what measuring a room costs, beside collectd, node-exporter and two Python agents
//!   agents   these four
//!   wire     what a client publishes, counted on its way
//! upload     a long lesson to the hub beside rclone
//! verify     `lectern verify` against sha256sum
//! usage      what a process has used, from /proc
//! table      rows, bars, the printed report
//! ```

pub mod agents;
pub mod copy;
pub mod garage;
pub mod lessons;
pub mod links;
pub mod peer;
pub mod price;
pub mod recording;
pub mod table;
pub mod upload;
pub mod usage;
pub mod verify;
pub mod wire;

/// The machine, for whoever compares two reports.
pub fn machine() -> String {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = text("/proc/cpuinfo");
    let cpu = cpu.lines().find(|line| line.starts_with("model name"));
    let cpu = cpu.and_then(|line| line.split(": ").nth(1)).unwrap_or("processor unknown");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = text("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!("machine: {cores} cores, {cpu}; load before: {load}")
}

/// The middle one; of an even number the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = |n: usize| sorted.get(n).copied().unwrap_or(f64::NAN);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    f64::midpoint(middle(low), middle(high))
}

/// A whole number as a figure; exact below 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "figures here are far below 2⁵³")]
pub fn figure(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).is_nan());
    }
}
