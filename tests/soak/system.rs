//! An hour on a machine as installed: hub and room from their packages, under systemd, on disks of their own. A lesson after
//! another is recorded, and at random instants a program is killed or frozen, a disk is full, a file is damaged, the line is
//! pulled out, the power is cut. At the end every lesson is stored, the same byte for byte, or its damage is declared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use lectern_base::clock;
use lectern_tests::{Disk, Stored, System, eventually};
use serde_json::Value;

use super::Dice;
use super::files::{counts_lost, damage, explained, hash};
use super::table::Row;

/// How long anything may take to be well again: a watchdog that bites, and a start after it.
const PATIENCE: Duration = Duration::from_secs(180);
/// What a program that dies may take along: the fragment that is open, and the time to sync one.
const FRAGMENT_MS: u64 = 1500;
/// Bytes of a part; see `evidence`.
const PART: u64 = 8 << 20;
const ROOM: &str = "var/lib/lectern";
const HUB: &str = "var/lib/lectern-hub";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillAgent,
    KillRecorder,
    KillBoth,
    KillHub,
    FreezeAgent,
    FreezeRecorder,
    FreezeHub,
    FillRoom,
    FillHub,
    DamageOutbox,
    DamageTake,
    Unplug,
    CutPower,
}

/// Each with its name, and how often of a hundred it is chosen.
const FAULTS: [(Fault, &str, u64); 13] = [
    (Fault::KillAgent, "agent killed", 12),
    (Fault::KillRecorder, "recorder killed", 12),
    (Fault::KillBoth, "agent and recorder killed", 8),
    (Fault::KillHub, "hub killed", 12),
    (Fault::FreezeAgent, "agent frozen", 4),
    (Fault::FreezeRecorder, "recorder frozen", 8),
    (Fault::FreezeHub, "hub frozen", 4),
    (Fault::FillRoom, "room's disk full", 8),
    (Fault::FillHub, "hub's disk full", 6),
    (Fault::DamageOutbox, "outbox damaged", 6),
    (Fault::DamageTake, "take damaged", 4),
    (Fault::Unplug, "line pulled out", 8),
    (Fault::CutPower, "power cut", 8),
];

/// One lesson as it was seen from outside.
#[derive(Debug, Default)]
struct Lesson {
    /// The most that was shown as durable.
    seen_ms: u64,
    /// What struck it: indices into [`FAULTS`].
    struck: Vec<usize>,
    /// Whether its bytes were damaged on purpose.
    damaged: bool,
}

struct Room {
    system: System,
    disk: Disk,
    store: Disk,
    dice: Dice,
    rows: Vec<Row>,
    /// All that were begun, by id.
    lessons: BTreeMap<String, Lesson>,
    /// The one that is recorded.
    on: Option<String>,
}

/// So many minutes, on the machine that `packaging/deb/try-system.sh --install` left in a folder.
pub fn hour(root: &Path, minutes: u32, seed: u64) -> anyhow::Result<Vec<Row>> {
    let root = &root.canonicalize().with_context(|| root.display().to_string())?;
    let (room_disk, hub_disk) = (own_disk(root, ROOM, 3072)?, own_disk(root, HUB, 4096)?);
    let (Some(disk), Some(store)) = (room_disk, hub_disk) else {
        bail!("no file system may be mounted here")
    };
    settle_settings(root)?;
    let rows =
        FAULTS.iter().map(|(_, name, _)| Row::new(&format!("installed: {name}"), FRAGMENT_MS)).collect();
    let mut room = Room {
        system: System::boot(root)?,
        disk,
        store,
        dice: Dice::new(seed, "system"),
        rows,
        lessons: BTreeMap::new(),
        on: None,
    };
    room.agrees("after the start")?;
    let until = clock::mono() + Duration::from_secs(u64::from(minutes) * 60);
    while clock::mono() < until {
        room.round()?;
    }
    room.finish()
}

/// Moves what is installed in a folder of the machine onto a disk of its own, and lays that over it.
fn own_disk(root: &Path, folder: &str, mib: u64) -> anyhow::Result<Option<Disk>> {
    let at = root.join(folder);
    // What a run before this one, that was killed, has left.
    std::process::Command::new("umount").arg("--quiet").arg(&at).output()?;
    let image = root.with_extension(format!("{}.img", folder.replace('/', "-")));
    let aside = root.with_extension("aside");
    let Some(disk) = Disk::ext4_of(image.clone(), mib, &aside)? else { return Ok(None) };
    let copied = std::process::Command::new("cp").arg("-a").arg(at.join(".")).arg(&aside).status()?;
    let owned = std::process::Command::new("chown").arg("--reference").arg(&at).arg(&aside).status()?;
    ensure!(copied.success() && owned.success(), "{} could not be moved", at.display());
    drop(disk);
    Disk::of_image(image, &at)
}

/// Small disks: lessons may fill them, and none leaves the room before it is looked at.
fn settle_settings(root: &Path) -> anyhow::Result<()> {
    let change = |file: &str, changes: &[(&str, &str)]| -> anyhow::Result<()> {
        let path = root.join(file);
        let mut text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (from, to) in changes {
            text = text.replace(from, to);
        }
        Ok(std::fs::write(&path, text)?)
    };
    let room = [
        ("picture = \"1920x1080\"", "picture = \"1280x720\""),
        ("keep_free_mib = 4096", "keep_free_mib = 0"),
        ("reserve_minutes = 10", "reserve_minutes = 1"),
    ];
    change("etc/lectern/agent.toml", &room)?;
    change("etc/lectern/hub.toml", &[("keep_free_mib = 1024", "keep_free_mib = 128")])
}

impl Room {
    fn status(&self) -> Option<Value> {
        self.system.ask(&["lectern", "record", "status"]).ok().filter(|status| status.get("room").is_some())
    }

    /// Notes how much of the lesson is shown as durable.
    fn look(&mut self) -> Option<Value> {
        let status = self.status()?;
        let (id, ms) = (status["lesson"]["id"].as_str()?, status["lesson"]["media_ms"].as_u64()?);
        if let Some(lesson) = self.lessons.get_mut(id) {
            lesson.seen_ms = lesson.seen_ms.max(ms);
        }
        Some(status)
    }

    fn complain(&mut self, fault: usize, what: String) {
        if let Some(row) = self.rows.get_mut(fault) {
            row.complain(what);
        }
    }

    /// Waits until more of the lesson is durable, or it has been ended for a reason; whether it goes on.
    fn goes_on(&mut self, more_ms: u64) -> anyhow::Result<bool> {
        let Some(id) = self.on.clone() else { return Ok(false) };
        let from = self.lessons.get(&id).map_or(0, |lesson| lesson.seen_ms);
        let outcome = eventually(PATIENCE, "a lesson that goes on", || {
            let status = self.look()?;
            let lesson = &status["lesson"];
            if lesson["id"] != id.as_str() {
                // An agent that was started after the end shows none: then it was ended.
                return lesson.is_null().then_some(false);
            }
            match lesson["state"].as_str()? {
                "recording" => (lesson["media_ms"].as_u64()? >= from + more_ms).then_some(true),
                "finishing" | "sealed" | "stored" => Some(false),
                _ => None,
            }
        });
        let on = outcome.with_context(|| format!("{id}: {:?}", self.status()))?;
        if !on {
            println!("  {id} was ended by itself");
            self.on = None;
        }
        Ok(on)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let mut said = String::new();
        let id = eventually(PATIENCE, "a lesson that is begun", || {
            let out = self.system.run(&["lectern", "record", "start", "--json"]).ok()?;
            said = String::from_utf8_lossy(&out.stderr).into_owned();
            let answer: Value = serde_json::from_slice(&out.stdout).ok()?;
            answer["lesson_id"].as_str().map(str::to_owned)
        });
        let id = id.with_context(|| said.clone())?;
        self.lessons.entry(id.clone()).or_default();
        self.on = Some(id);
        self.goes_on(1000).map(drop)
    }

    /// A lesson, a fault in it, and that all is well again.
    fn round(&mut self) -> anyhow::Result<()> {
        if self.on.is_none() {
            self.start()?;
        }
        self.dice.wait(8000);
        self.look();
        if self.dice.below(6) == 0 {
            self.teach();
        }
        let mut left = self.dice.below(100);
        let chosen = FAULTS.iter().position(|(_, _, share)| {
            let here = left < *share;
            left = left.saturating_sub(*share);
            here
        });
        let n = chosen.unwrap_or(0);
        let (fault, name, _) = FAULTS[n];
        println!(
            "{} {name}{}",
            clock::local_text(clock::wall_ms()),
            self.on.as_deref().map_or(String::new(), |id| format!(", in {id}"))
        );
        if let Some(lesson) = self.on.as_ref().and_then(|id| self.lessons.get_mut(id)) {
            lesson.struck.push(n);
            lesson.damaged |= fault == Fault::DamageTake;
        }
        let began = clock::mono();
        let outcome = self.strike(fault).and_then(|()| self.goes_on(1000));
        let away_ms = u64::try_from((clock::mono() - began).as_millis())?;
        match outcome {
            Ok(on) => {
                self.rows[n].instants += 1;
                if on {
                    self.rows[n].away_ms.push(away_ms);
                }
            }
            Err(e) => {
                self.complain(n, format!("{e:#}"));
                self.on = None;
            }
        }
        if let Err(e) = self.agrees(name) {
            self.complain(n, format!("{e:#}"));
        }
        if self.on.is_some() && (fault == Fault::DamageTake || self.dice.below(3) == 0) {
            self.stop()?;
        }
        Ok(())
    }

    /// What a teacher does besides.
    fn teach(&mut self) {
        for words in [&["mark", "重点"][..], &["pause"], &["resume"]] {
            let all = [&["lectern", "record"], words].concat();
            // Refused is an answer too.
            self.system.run(&all).ok();
            self.dice.wait(1500);
        }
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let id = self.on.take();
        self.look();
        let out = self.system.run(&["lectern", "record", "stop"])?;
        println!(
            "  {} is ended by hand: {}",
            id.unwrap_or_default(),
            String::from_utf8_lossy(&out.stdout).trim()
        );
        Ok(())
    }

    fn kill(&self, unit: &str, signal: &str) -> anyhow::Result<()> {
        self.system.signal(self.system.main_pid(unit)?, signal)
    }

    fn kill_recorder(&self, signal: &str) -> anyhow::Result<()> {
        // It may just have ended by itself.
        self.system.recorder().map_or(Ok(()), |pid| self.system.signal(pid, signal))
    }

    /// Freezes the main process of a unit and waits until systemd has put another in its place.
    fn freeze(&self, unit: &str) -> anyhow::Result<()> {
        let frozen = self.system.main_pid(unit)?;
        self.system.signal(frozen, "STOP")?;
        let other = || self.system.main_pid(unit).ok().filter(|pid| *pid != 0 && *pid != frozen);
        eventually(PATIENCE, "another process after the watchdog", other).map(drop)
    }

    fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::KillAgent => self.kill("lectern", "KILL"),
            Fault::KillRecorder => self.kill_recorder("KILL"),
            Fault::KillBoth => {
                self.kill_recorder("KILL")?;
                self.kill("lectern", "KILL")
            }
            Fault::KillHub => self.kill("lectern-hub", "KILL"),
            Fault::FreezeAgent => self.freeze("lectern"),
            Fault::FreezeHub => self.freeze("lectern-hub"),
            Fault::FreezeRecorder => self.kill_recorder("STOP"),
            Fault::FillRoom => {
                let filler = self.disk.fill()?;
                self.dice.wait(15_000);
                self.look();
                Ok(std::fs::remove_file(filler)?)
            }
            Fault::FillHub => {
                let filler = self.store.fill()?;
                self.dice.wait(30_000);
                Ok(std::fs::remove_file(filler)?)
            }
            Fault::DamageOutbox => {
                self.kill("lectern", "KILL")?;
                damage(&self.disk.at().join("outbox.db"), 0..1, 4096, &mut self.dice)
            }
            Fault::DamageTake => self.damage_take(),
            Fault::Unplug => self.unplug(),
            Fault::CutPower => {
                self.system.cut_power();
                self.dice.wait(3000);
                self.system.power_on()
            }
        }
    }

    /// Changes a byte of the running take that is durable and has not left the room: what is sent already would only be
    /// a fault of this disk, and no loss.
    fn damage_take(&mut self) -> anyhow::Result<()> {
        self.system.plug(false)?;
        let outcome = self.goes_on(3000).and_then(|mut on| {
            let id = self.lessons.iter().rev().find(|(_, lesson)| lesson.damaged).map(|(id, _)| id.clone());
            let status = self.status().context("no status")?;
            let take = status["lesson"]["take"].as_u64().context("no take")?;
            let path = self
                .disk
                .at()
                .join("lessons")
                .join(id.context("no lesson")?)
                .join(format!("take-{take}.mp4"));
            let tail =
                || anyhow::Ok(std::fs::metadata(&path).map(|file| (file.len(), file.len() / PART * PART))?);
            let (mut length, mut part) = tail()?;
            // A still picture takes little, and a part may just have been filled.
            for _ in 0..10 {
                if length > part + 50_000 {
                    break;
                }
                on = self.goes_on(2000)?;
                (length, part) = tail()?;
            }
            ensure!(on && length > part + 50_000, "too little is recorded to be damaged");
            damage(&path, part + 4096..part + (length - part) / 4 * 3, 1, &mut self.dice)
        });
        self.system.plug(true)?;
        outcome
    }

    /// Every third time until the console misses the room.
    fn unplug(&mut self) -> anyhow::Result<()> {
        self.system.plug(false)?;
        let outcome = if self.dice.below(3) == 0 {
            let missed = || (self.hub_says("devices_online")? == 0).then_some(());
            eventually(Duration::from_secs(300), "a console that misses the room", missed)
        } else {
            self.dice.wait(40_000);
            Ok(())
        };
        self.system.plug(true)?;
        outcome
    }

    /// One number of the hub's, the same that its console shows.
    fn hub_says(&self, name: &str) -> Option<u64> {
        let said =
            self.system.say(&["curl", "-sk", "--max-time", "10", "https://127.0.0.1:8470/metrics"]).ok()?;
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("lectern_hub_{name} ")))?;
        line.trim().parse().ok()
    }

    /// Waits until the console says of the room what is so.
    fn agrees(&self, after: &str) -> anyhow::Result<()> {
        let outcome = eventually(PATIENCE, "a console that says what is so", || {
            let status = self.status()?;
            let recording = u64::from(status["lesson"]["state"] == "recording");
            (self.hub_says("devices_online")? == 1 && self.hub_says("devices_recording")? == recording)
                .then_some(())
        });
        outcome.with_context(|| {
            format!(
                "{after}: the room says {:?}, the hub {:?} online and {:?} recording",
                self.status().map(|s| s["lesson"]["state"].clone()),
                self.hub_says("devices_online"),
                self.hub_says("devices_recording")
            )
        })
    }

    /// Everything is given back; then every lesson is held against what was seen of it.
    fn finish(mut self) -> anyhow::Result<Vec<Row>> {
        if self.on.is_some() {
            self.stop()?;
        }
        let listed = |room: &Self| room.system.ask(&["lectern", "lessons"]).ok()?.as_array().cloned();
        let settled = eventually(PATIENCE * 2, "lessons that are stored", || {
            let all = listed(&self)?;
            let done = |l: &Value| l["state"] == "stored" || l["state"] == "discarded";
            let damaged =
                |l: &Value| self.lessons.get(l["id"].as_str().unwrap_or("")).is_some_and(|own| own.damaged);
            all.iter().all(|l| done(l) || damaged(l) && l["state"] == "sealed").then_some(())
        });
        let all = listed(&self).context("the room does not list its lessons")?;
        if let Err(e) = settled {
            let open = all.iter().filter(|l| l["state"] != "stored");
            let open: Vec<_> = open.map(|l| format!("{} {}", l["id"], l["state"])).collect();
            self.complain(0, format!("{e}: {open:?}"));
        }
        let status = self.status().context("the room does not answer")?;
        let (mut stored, mut declared, mut empty, mut ms) = (0, 0, 0, 0);
        for (id, lesson) in std::mem::take(&mut self.lessons) {
            let rows: Vec<&Value> = all.iter().filter(|l| l["id"] == id.as_str()).collect();
            let state = rows.first().map_or("missing", |l| l["state"].as_str().unwrap_or(""));
            let kept = match state {
                "stored" => self.kept(&id).map(|(ms, there)| (ms, Some(there))),
                _ => self.declared(&id, &lesson, state, &status).map(|ms| (ms, None)),
            };
            match (&kept, state) {
                (Ok(_), "stored") => stored += 1,
                (Ok(_), "discarded") => empty += 1,
                (Ok(_), _) => declared += 1,
                (Err(_), _) => {}
            }
            ms += kept.as_ref().map_or(0, |(ms, _)| *ms);
            // What is empty or declared damaged has nothing to be played, and no break to be explained.
            let there = kept.as_ref().ok().and_then(|(_, there)| there.as_ref());
            let played = there.map_or(Ok(()), |there| match there.play() {
                // Struck before it was hashed, and beyond the last head that was signed: nobody can know, but it was decoded.
                Err(_) if lesson.damaged && counts_lost(&there.takes) => {
                    println!("  {id} is stored with lost pictures or sound, which its report counts");
                    Ok(())
                }
                played => played,
            });
            let explained = there.map_or(Ok(()), |there| explained(&there.takes));
            // A lesson that nothing struck counts too.
            let struck = if lesson.struck.is_empty() { &[0][..] } else { &lesson.struck };
            for n in struck {
                let row = &mut self.rows[*n];
                row.one.count(rows.len() == 1);
                row.stored.count(kept.is_ok());
                row.playable.count(kept.is_ok() && played.is_ok());
                row.gaps.count(kept.is_ok() && explained.is_ok());
                if let Ok((kept_ms, _)) = kept {
                    row.lost_ms.push(lesson.seen_ms.saturating_sub(kept_ms));
                }
            }
            for e in [played.err(), explained.err()].into_iter().flatten() {
                self.complain(struck[0], format!("{id}: {e:#}"));
            }
            match kept {
                Err(e) => self.complain(struck[0], format!("{id} ({state}, {lesson:?}): {e:#}")),
                Ok((kept_ms, _)) if lesson.seen_ms > kept_ms + FRAGMENT_MS => self.complain(
                    struck[0],
                    format!("{id}: {} ms were shown as durable, {kept_ms} ms are there", lesson.seen_ms),
                ),
                Ok(_) => {}
            }
        }
        self.whole(&mut |what| println!("  {what}"))?;
        println!(
            "  {stored} lessons stored, the same byte for byte at the hub; {declared} damaged and declared; {empty} in which nothing was recorded; {:.1} minutes of picture",
            ms as f64 / 60_000.0
        );
        self.rows.retain(|row| row.instants > 0);
        Ok(std::mem::take(&mut self.rows))
    }

    /// A stored lesson, every take the same in both places, and verified: its length, and what is there.
    fn kept(&self, id: &str) -> anyhow::Result<(u64, Stored)> {
        let here = self.disk.at().join("lessons").join(id);
        let there = self.at_hub(id)?;
        let manifest: Value = serde_json::from_slice(&std::fs::read(there.join("manifest.json"))?)?;
        ensure!(
            manifest == serde_json::from_slice::<Value>(&std::fs::read(here.join("manifest.json"))?)?,
            "two manifests"
        );
        let takes = manifest["document"]["takes"].as_array().context("no takes")?.clone();
        let mut ms = 0;
        for take in &takes {
            let file = take["file"].as_str().context("a take without a file")?;
            ensure!(hash(&here.join(file))? == hash(&there.join(file))?, "{file} is another at the hub");
            ms += take["duration_ms"].as_u64().context("a take without a length")?;
        }
        let inside = Path::new("/").join(HUB).join(there.strip_prefix(self.store.at())?);
        let report = self.system.ask(&["lectern", "verify", &inside.to_string_lossy()])?;
        let there = Stored { folder: there, takes, report };
        ensure!(there.verified(), "{}", there.report);
        Ok((ms, there))
    }

    /// Where the hub keeps a lesson.
    fn at_hub(&self, id: &str) -> anyhow::Result<PathBuf> {
        let folder = self.store.at().join("objects/3401000001/room-301").join(id);
        ensure!(folder.is_dir(), "the hub has no {id}");
        Ok(folder)
    }

    /// A lesson that is not stored: nothing was in it, or its bytes were damaged on purpose, and that is said.
    fn declared(&self, id: &str, lesson: &Lesson, state: &str, status: &Value) -> anyhow::Result<u64> {
        if state == "discarded" {
            ensure!(lesson.seen_ms == 0, "{} ms were shown as durable, and nothing is there", lesson.seen_ms);
            return Ok(0);
        }
        ensure!(lesson.damaged, "not stored");
        let report = self.system.ask(&["lectern", "verify", &format!("/{ROOM}/lessons/{id}")])?;
        ensure!(report["sound"] == false, "nothing is wrong with it: {report}");
        // Either the hub was refused the part, or it holds against the manifest what was signed while the lesson ran.
        let mismatch = self.hub_says("alarms{code=\"evidence_mismatch\"}").is_some_and(|n| n > 0);
        let told = status["upload"]["blocked"].as_str().or(mismatch.then_some("an alarm at the console"));
        println!("  {id} is declared: {}", told.context("neither the page nor the console says so")?);
        Ok(lesson.seen_ms)
    }

    /// State and files of both, their logs of receipts, and that no bug was met.
    fn whole(&mut self, say: &mut dyn FnMut(String)) -> anyhow::Result<()> {
        for name in ["panics_total", "receipts", "devices_online", "repairs_pending"] {
            say(format!("hub: {name} {}", self.hub_says(name).unwrap_or(u64::MAX)));
        }
        let alarms = self.system.say(&["curl", "-sk", "https://127.0.0.1:8470/metrics"])?;
        let standing = alarms.lines().filter(|l| l.starts_with("lectern_hub_alarms{") && !l.ends_with(" 0"));
        say(format!("alarms that stand: {:?}", standing.collect::<Vec<_>>()));
        if self.hub_says("panics_total") != Some(0) {
            self.complain(0, "the hub met a bug; see its journal".into());
        }
        let bugs = self.system.run(&["journalctl", "--grep=a bug:", "--output=cat", "--no-pager"])?;
        if bugs.status.success() {
            self.complain(0, format!("a bug was met: {}", String::from_utf8_lossy(&bugs.stdout)));
        }
        self.system.say(&["systemctl", "stop", "lectern", "lectern-hub"])?;
        let damaged =
            self.rows.iter().filter(|row| row.fault.ends_with("take damaged") && row.instants > 0).count();
        for (user, words) in
            [("lectern", &["lectern", "fsck"][..]), ("lectern-hub", &["lectern-hub", "log", "check"])]
        {
            let as_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"];
            let out = self.system.run(&[&as_user, words].concat())?;
            let said =
                format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            say(format!("{}: {}", words.last().unwrap_or(&""), said.trim()));
            // What was damaged on purpose is to be found, and nothing else.
            let found = said.lines().filter(|l| {
                l.contains("fault") || l.starts_with("note:") || l.starts_with("contradicts_head")
            });
            let only = found.count() == said.lines().count() && damaged > 0;
            if !out.status.success() && !only {
                self.complain(0, format!("{words:?}: {said}"));
            }
        }
        Ok(())
    }
}
