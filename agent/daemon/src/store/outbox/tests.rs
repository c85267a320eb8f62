//! The outbox on good disks and bad ones.

use super::*;

fn sample(ts: i64) -> Sample {
    Sample { ts, values: [("cpu_pct".to_owned(), 1.0)].into() }
}

fn seqs(outbox: &Outbox, limit: u32) -> Vec<i64> {
    outbox.samples(0, limit).expect("reads").iter().map(|row| row.seq).collect()
}

/// A folder with an outbox in it.
fn filled(events: u32, samples: i64) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("outbox.db");
    let outbox = Outbox::open(&path, 1 << 20);
    for n in 0..events {
        outbox.push_event("lesson", &serde_json::json!({ "n": n }));
    }
    for ts in 0..samples {
        outbox.push_sample("sys", &sample(ts));
    }
    outbox.flush().expect("flushes");
    drop(outbox);
    (folder, path)
}

#[test]
fn events_leave_only_when_the_hub_has_them() {
    let (_folder, path) = filled(3, 0);
    let outbox = Outbox::open(&path, 1 << 20);
    let seqs: Vec<_> = outbox.events(0, 10).expect("reads").iter().map(|e| e.event.seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
    outbox.events_stored(2);
    assert_eq!(outbox.events(0, 10).expect("reads")[0].event.data["n"], 2);
    assert_eq!(outbox.rows().expect("counts"), 1);
}

#[test]
fn a_sample_the_broker_has_is_never_seen_again_and_leaves_with_the_next_commit() {
    let (_folder, path) = filled(0, 5);
    let outbox = Outbox::open(&path, 1 << 20);
    outbox.samples_sent(&[1, 2, 3]);
    assert_eq!((seqs(&outbox, 1), seqs(&outbox, 9)), (vec![4], vec![4, 5]));
    assert_eq!(outbox.rows().expect("counts"), 2);
    outbox.flush().expect("flushes");
    drop(outbox);
    assert_eq!(seqs(&Outbox::open(&path, 1 << 20), 9), [4, 5]);
}

#[test]
fn a_sample_has_its_number_before_it_is_committed_and_keeps_it() {
    let (_folder, path) = filled(0, 2);
    let outbox = Outbox::open(&path, 1 << 20);
    outbox.push_sample("sys", &sample(7));
    outbox.push_sample("net", &sample(8));
    assert_eq!((seqs(&outbox, 9), outbox.newest_sample().expect("reads")), (vec![1, 2, 3, 4], 4));
    outbox.samples_sent(&[3]);
    assert_eq!(seqs(&outbox, 9), [1, 2, 4]);
    outbox.flush().expect("flushes");
    drop(outbox);
    assert_eq!(seqs(&Outbox::open(&path, 1 << 20), 9), [1, 2, 4]);
}

#[test]
fn of_very_many_chain_heads_the_newest_are_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let outbox = Outbox::open(&folder.path().join("outbox.db"), 1 << 20);
    let fill = "INSERT INTO heads VALUES (1, 'old'), (?1, 'new')";
    outbox.lock().file().expect("open").execute(fill, [MOST_HEADS]).expect("fills");
    outbox.lock().measure().expect("counts");
    outbox.push_head("newest").expect("pushes");
    let kept = outbox.heads(0, 10).expect("reads");
    assert_eq!(kept.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(), ["new", "newest"]);
    outbox.head_sent(kept[0].0);
    assert_eq!(outbox.heads(0, 10).expect("reads").len(), 1);
    assert_eq!(outbox.heads(kept[1].0, 10).expect("reads").len(), 0);
}

#[test]
fn a_full_outbox_drops_the_oldest_samples_and_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    let outbox = Outbox::open(&folder.path().join("outbox.db"), 10_000);
    for ts in 0..500 {
        outbox.push_sample("sys", &sample(ts));
        outbox.flush().expect("flushes");
    }
    let kept = outbox.samples(0, 1000).expect("reads");
    assert!(kept.len() < 200 && kept.last().is_some_and(|s| s.text.starts_with("{\"ts\":499,")));
    let gaps = outbox.events(0, 1000).expect("reads");
    let dropped: i64 = gaps.iter().map(|g| g.event.data["count"].as_i64().unwrap_or(0)).sum();
    assert_eq!(dropped as usize + kept.len(), 500, "every dropped sample is declared");
    assert!(gaps.iter().all(|g| g.kind == "gap"));
}

/// What a room measures in a week without a hub stays within the bound that ships.
#[test]
fn a_week_offline_fits_and_nothing_of_it_is_dropped() {
    let folder = tempfile::tempdir().expect("folder");
    let outbox = Outbox::open(&folder.path().join("outbox.db"), 64 << 20);
    // As many numbers, with names as long, as a real room's largest sample.
    let values = (0..18).map(|n| (format!("some_number_{n:02}_bytes"), 123_456.75 + f64::from(n))).collect();
    let full = Sample { ts: 1_789_180_200_000, values };
    let rounds = 7 * 24 * 3600 / 30;
    for round in 0..rounds {
        for group in ["sys", "net"] {
            outbox.push_sample(group, &full);
        }
        if round % 900 == 899 {
            outbox.flush().expect("flushes");
        }
    }
    outbox.flush().expect("flushes");
    assert_eq!(outbox.rows().expect("counts"), 2 * rounds);
    assert_eq!(outbox.events(0, 9).expect("reads").len(), 0, "no gap");
}

/// Whether everything that was in it is there, or else a gap is declared under a number that was never used.
fn whole_or_declared(path: &Path, events: usize, samples: usize, what: &str) -> bool {
    let outbox = Outbox::open(path, 1 << 20);
    let told = outbox.events(0, 1000).expect("reads");
    let kept = outbox.samples(0, 1000).expect("reads");
    let whole = told.len() == events && kept.len() == samples && told.iter().all(|e| e.kind == "lesson");
    if !whole {
        assert_eq!((told.len(), kept.len()), (1, 0), "{what}: half of it is there");
        assert_eq!(told[0].kind, "gap", "{what}");
        assert!(told[0].event.seq > 1_000_000, "{what}: numbers never repeat");
        assert_eq!(told[0].event.data["to_seq"].as_u64(), Some(told[0].event.seq - 1), "{what}");
    }
    outbox.push_event("lesson", &serde_json::json!({}));
    assert_eq!(outbox.events(0, 1000).expect("reads").len(), told.len() + 1, "{what}: it goes on");
    whole
}

/// Empties the folder.
fn remove_sides(path: &Path) {
    for entry in std::fs::read_dir(path.parent().expect("a folder")).expect("lists").flatten() {
        std::fs::remove_file(entry.path()).expect("removes");
    }
}

/// A folder in memory, where there is one: these tests write thousands of files.
fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("folder")
}

#[test]
fn a_file_cut_at_any_byte_is_whole_or_set_aside_and_declared() {
    let (_folder, made) = filled(40, 120);
    let bytes = std::fs::read(&made).expect("reads");
    let folder = quick_folder();
    let path = folder.path().join("outbox.db");
    // Every byte of the header and of one page of rows, and every edge of a page with its neighbours.
    let page = bytes.len() / 4096 / 2 * 4096;
    let edges = (0..=bytes.len()).step_by(4096).flat_map(|edge| [edge.saturating_sub(1), edge, edge + 1]);
    let mut declared = 0;
    for length in (0..=100).chain(page..page + 4096).chain(edges) {
        let length = length.min(bytes.len());
        remove_sides(&path);
        std::fs::write(&path, &bytes[..length]).expect("writes");
        let whole = whole_or_declared(&path, 40, 120, &format!("{length} bytes"));
        // The last bytes of a page may be nobody's: then all is there without them.
        assert!(whole || length < bytes.len(), "{length} of {} bytes", bytes.len());
        declared += u32::from(!whole);
    }
    assert!(declared > 4000, "only {declared} were tried");
}

/// What was committed last stands in SQLite's log beside the file. A log that is cut holds less, as after a power cut on a
/// disk that lies, and it holds it without a hole: how far the numbers went stands beside it.
#[test]
fn a_log_cut_at_any_byte_leaves_what_came_before_and_what_is_gone_is_declared() {
    let (kept, path) = filled(10, 10);
    let outbox = Outbox::open(&path, 1 << 20);
    for n in 10..14 {
        outbox.push_event("lesson", &serde_json::json!({ "n": n }));
    }
    let log = kept.path().join("outbox.db-wal");
    let (file, log) = (std::fs::read(&path).expect("reads"), std::fs::read(log).expect("there is a log"));
    drop(outbox);
    let folder = quick_folder();
    let (path, beside) = (folder.path().join("outbox.db"), folder.path().join("outbox.db-wal"));
    let (note, noted) = (folder.path().join("outbox.last"), std::fs::read(kept.path().join("outbox.last")));
    let noted = noted.expect("it is noted");
    // Every byte of the log's header and of a page in the middle with its own header, and every edge.
    let frame = 24 + 4096;
    let (count, middle) = ((log.len() - 32) / frame, 32 + (log.len() - 32) / frame / 2 * frame);
    let edges = (0..=count).map(|n| 32 + n * frame).flat_map(|edge| [edge - 1, edge, edge + 1]);
    let mut left = BTreeSet::new();
    for length in (0..=32).chain(middle..middle + frame).chain(edges) {
        let length = length.min(log.len());
        remove_sides(&path);
        std::fs::write(&path, &file).expect("writes");
        std::fs::write(&beside, &log[..length]).expect("writes");
        std::fs::write(&note, &noted).expect("writes");
        let outbox = Outbox::open(&path, 1 << 20);
        let told = outbox.events(0, 100).expect("reads");
        let (declared, there): (Vec<_>, Vec<_>) = told.iter().partition(|row| row.kind == "gap");
        let seqs: Vec<u64> = there.iter().map(|row| row.event.seq).collect();
        let whole = (1..=there.len() as u64).collect::<Vec<_>>();
        assert_eq!(seqs, whole, "{length} bytes: what is there has no hole");
        let gone: Vec<_> = declared
            .iter()
            .map(|row| {
                (row.event.seq, row.event.data["from_seq"].as_u64(), row.event.data["to_seq"].as_u64())
            })
            .collect();
        let want = (seqs.len() < 14).then_some((15, Some(seqs.len() as u64 + 1), Some(14)));
        assert_eq!(gone, want.into_iter().collect::<Vec<_>>(), "{length} bytes");
        assert_eq!(outbox.samples(0, 100).expect("reads").len(), 10, "{length} bytes");
        outbox.push_event("lesson", &serde_json::json!({ "n": "next" }));
        let next = outbox.events(0, 100).expect("reads").last().map(|row| row.event.seq);
        assert_eq!(next, Some(if gone.is_empty() { 15 } else { 16 }), "{length} bytes: it goes on");
        left.insert(seqs.len());
    }
    assert_eq!(left.into_iter().collect::<Vec<_>>(), [10, 11, 12, 13, 14], "each commit stands for itself");
}

#[test]
fn rubbish_and_a_strange_database_are_set_aside_and_declared() {
    let (folder, path) = filled(5, 5);
    std::fs::write(&path, vec![7; 5000]).expect("breaks it");
    assert!(!whole_or_declared(&path, 5, 5, "rubbish"));
    let aside = std::fs::read_dir(folder.path()).expect("lists").flatten();
    assert!(aside.map(|e| e.file_name()).any(|name| name.to_string_lossy().contains("broken")));
    remove_sides(&path);
    Connection::open(&path).expect("opens").execute_batch("CREATE TABLE events (x)").expect("strange");
    assert!(!whole_or_declared(&path, 5, 5, "another program's"));
}

#[test]
fn a_file_that_breaks_while_it_is_used_is_set_aside_and_what_came_meanwhile_is_kept() {
    let (_folder, path) = filled(3, 3);
    let outbox = Outbox::open(&path, 1 << 20);
    // All pages but the first become rubbish, below the connection that stands.
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, &bytes).expect("breaks it");
    // What is in its memory is still whole.
    outbox.lock().file().expect("open").execute_batch("PRAGMA shrink_memory").expect("forgets");
    outbox.push_sample("sys", &sample(9));
    outbox.push_event("lesson", &serde_json::json!({ "n": "meanwhile" }));
    outbox.push_event("lesson", &serde_json::json!({ "n": "afterwards" }));
    outbox.flush().expect("goes on");
    let told: Vec<_> = outbox.events(0, 9).expect("reads").into_iter().map(|e| e.kind).collect();
    assert_eq!(told, ["gap", "lesson", "lesson"]);
    assert_eq!(outbox.samples(0, 9).expect("reads").len(), 1);
}

#[test]
fn where_the_disk_gives_no_file_samples_are_told_from_memory_and_events_wait_for_it() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("not-mounted").join("outbox.db");
    let outbox = Outbox::open(&path, 1 << 20);
    outbox.push_sample("sys", &sample(1));
    outbox.push_sample("net", &sample(2));
    outbox.push_event("lesson", &serde_json::json!({ "n": 1 }));
    assert!(outbox.commit_event("repair", &serde_json::json!({})).is_err(), "nobody is told that it is kept");
    assert!(outbox.flush().is_err());
    let waiting = outbox.samples(0, 9).expect("reads");
    assert_eq!(waiting.iter().map(|row| row.group.as_str()).collect::<Vec<_>>(), ["sys", "net"]);
    outbox.samples_sent(&[waiting[0].seq]);
    assert_eq!((outbox.rows().expect("counts"), outbox.events(0, 9).expect("reads").len()), (2, 0));

    std::fs::create_dir(path.parent().expect("a folder")).expect("mounted");
    outbox.flush().expect("the disk is back");
    drop(outbox);
    let outbox = Outbox::open(&path, 1 << 20);
    assert_eq!(outbox.samples(0, 9).expect("reads")[0].group, "net");
    let told = outbox.events(0, 9).expect("reads");
    assert_eq!((told.len(), told[0].kind.as_str(), told[0].event.seq), (1, "lesson", 1));
}

#[test]
fn on_a_full_disk_nothing_is_sent_twice_and_what_memory_cannot_hold_is_declared() {
    let (_folder, path) = filled(4, 30);
    let outbox = Outbox::open(&path, 1 << 20);
    let set = |pages: i64| {
        let mut inner = outbox.lock();
        let db = inner.file().expect("open");
        // SQLite's own way to be full: its answer is the one of a full disk.
        db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).expect("set");
    };
    set(1);
    for ts in 0..i64::try_from(MOST_FRESH + 500).expect("few") {
        outbox.push_sample("sys", &Sample { ts, values: [(format!("{}_pct", "x".repeat(40)), 1.0)].into() });
    }
    assert!(outbox.flush().is_err(), "it is full");
    let first = outbox.samples(0, 1).expect("reads")[0].seq;
    outbox.samples_sent(&[first]);
    assert!(outbox.samples(0, 9).expect("reads").iter().all(|row| row.seq != first));
    outbox.events_stored(2);
    assert_eq!(outbox.events(0, 9).expect("reads")[0].event.seq, 3);
    outbox.push_event("lesson", &serde_json::json!({ "n": "late" }));
    set(1 << 20);
    outbox.flush().expect("there is room again");
    let told = outbox.events(2, 9).expect("reads");
    let gap = told.iter().find(|e| e.kind == "gap").expect("a gap");
    assert_eq!((gap.event.data["count"].as_u64(), gap.event.data["from_ts"].as_i64()), (Some(500), Some(0)));
    assert!(told.iter().any(|e| e.event.data["n"] == "late"));
    assert_eq!(outbox.rows().expect("counts"), 29 + MOST_FRESH as u64 + told.len() as u64);
}

#[test]
fn a_row_that_a_bad_disk_changed_is_told_from_a_sound_one() {
    let row = |text: &str| SampleRow { seq: 1, group: "sys".into(), text: text.into(), kept: true };
    assert!(row(r#"{"ts":1,"values":{"cpu_pct":1}}"#).is_sound());
    for bad in ["", "{", r#"{"ts":1,"values":{"cpu":1}}"#, r#"{"ts":1,"values":{"cpu_pct":"1"}}"#] {
        assert!(!row(bad).is_sound(), "{bad}");
    }
    let (_folder, path) = filled(0, 3);
    let outbox = Outbox::open(&path, 1 << 20);
    outbox.samples_spoiled(&[2]);
    assert_eq!(seqs(&outbox, 9), [1, 3]);
    assert_eq!(outbox.events(0, 9).expect("reads")[0].event.data["class"], "sample");
}
