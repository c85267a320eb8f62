//! Reads and checks the job: everything is refused here, before a device or a file is opened.

use std::io::BufRead;

use anyhow::{Context as _, bail, ensure};
use lectern_wire::capture::{CaptureSettings, Layout, SourceKind};
use lectern_wire::recorder::{Armed, Job};

/// Longest job line, bytes.
const MAX_LINE: u64 = 64 * 1024;

/// Reads one line and checks it.
pub fn read(input: impl BufRead) -> anyhow::Result<Job> {
    let job: Job =
        serde_json::from_str(&line(input)?).context("the job is not a JSON line of the expected shape")?;
    check_job(&job)?;
    Ok(job)
}

/// Checks a job that was read.
pub fn check_job(job: &Job) -> anyhow::Result<()> {
    ensure!((1..=1440).contains(&job.max_minutes), "{} minutes is not usable: 1 to 1440", job.max_minutes);
    ensure!(job.take >= 1, "takes are numbered from 1");
    check(&job.capture)
}

/// Reads one line that says what to be ready for, and checks it.
pub fn read_armed(input: impl BufRead) -> anyhow::Result<Armed> {
    let armed: Armed =
        serde_json::from_str(&line(input)?).context("this is not a JSON line of what to be armed for")?;
    ensure!(armed.ring_s <= 60, "{} s before the press is too much: 0 to 60", armed.ring_s);
    check(&armed.capture)?;
    Ok(armed)
}

/// Reads one line that holds only what to capture, and checks it.
pub fn read_capture(input: impl BufRead) -> anyhow::Result<CaptureSettings> {
    let capture = serde_json::from_str(&line(input)?)
        .context("the capture settings are not a JSON line of the expected shape")?;
    check(&capture)?;
    Ok(capture)
}

fn line(input: impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::Read::take(input, MAX_LINE)
        .read_line(&mut line)
        .context("nothing could be read from standard input")?;
    Ok(line)
}

fn check(capture: &CaptureSettings) -> anyhow::Result<()> {
    let v = capture.video;
    ensure!(
        v.width.is_multiple_of(2)
            && v.height.is_multiple_of(2)
            && (64..=4096).contains(&v.width)
            && (64..=4096).contains(&v.height),
        "the picture's size {}x{} is not usable: even numbers from 64 to 4096",
        v.width,
        v.height
    );
    ensure!((1..=60).contains(&v.fps), "{} frames per second is not usable: 1 to 60", v.fps);
    ensure!((100..=50_000).contains(&v.max_kbps), "{} kbit/s is not usable: 100 to 50000", v.max_kbps);
    ensure!((1..=10).contains(&v.gop_s), "{} s between key frames is not usable: 1 to 10", v.gop_s);
    ensure!(
        (32..=320).contains(&capture.audio.kbps),
        "{} kbit/s of sound is not usable: 32 to 320",
        capture.audio.kbps
    );

    let mut names: Vec<_> = capture.sources.iter().map(|s| s.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
        bail!("two sources are called {:?}", twice[0]);
    }
    let count = |is: fn(&SourceKind) -> bool| capture.sources.iter().filter(|s| is(&s.kind)).count();
    ensure!(count(SourceKind::is_screen) <= 1, "at most one screen (or test) source is supported");
    ensure!(count(SourceKind::is_camera) <= 2, "at most two cameras are supported");
    ensure!(count(SourceKind::is_sound) <= 4, "at most four sources of sound are supported");
    let (screens, cameras) = (count(SourceKind::is_screen), count(SourceKind::is_camera));
    let network = count(|kind| matches!(kind, SourceKind::NetworkCamera { .. }));
    ensure!(
        !capture.copy_camera
            || (capture.layout == Layout::Camera && (screens, cameras, network) == (0, 1, 1)),
        "only a network camera that is the only picture can be copied"
    );
    ensure!(
        capture.layouts().any(|layout| layout == capture.layout),
        "layout {} needs more screens or cameras than there are",
        capture.layout.name()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(edit: impl FnOnce(&mut serde_json::Value)) -> anyhow::Result<Job> {
        let mut job = serde_json::json!({
            "lesson_id": "20260101-000000-00", "take": 1, "take_path": "t.mp4", "journal_path": "t.jsonl",
            "socket_path": "s", "max_minutes": 60,
            "capture": {
                "layout": "screen", "sources": [{"name": "card", "kind": "test"}],
                "video": {"width": 320, "height": 180, "fps": 25, "max_kbps": 400, "gop_s": 2},
                "audio": {"kbps": 96}
            }
        });
        edit(&mut job);
        read(format!("{job}\n").as_bytes())
    }

    #[test]
    fn a_job_is_refused_before_anything_is_opened() {
        assert!(job(|_| {}).is_ok());
        assert!(job(|j| j["capture"]["video"]["width"] = 321.into()).is_err());
        assert!(job(|j| j["capture"]["video"]["fps"] = 0.into()).is_err());
        assert!(job(|j| j["capture"]["layout"] = "screen_camera".into()).is_err());
        assert!(job(|j| j["capture"]["sources"] = serde_json::json!([])).is_err());
        assert!(job(|j| j["surprise"] = 1.into()).is_err());
        assert!(read(&b"not json\n"[..]).is_err());
        assert!(read(&b""[..]).is_err());
    }

    #[test]
    fn whatever_job_comes_is_read_or_refused() {
        use lectern_base::mangle::{Counting, PLAIN, mangle};

        #[global_allocator]
        static COUNTING: Counting = Counting;

        let repository = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        mangle(repository, "recorder", &[], PLAIN, |bytes| {
            drop(read(bytes));
            drop(read_armed(bytes));
            drop(read_capture(bytes));
        });
    }
}
