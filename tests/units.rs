//! Lectern as a service: what its units allow, that a lesson outlives the agent when its recorder has a unit of its own,
//! what systemd is told, what the journal can be asked for, and that newer data is left alone.
//!
//! systemd itself is tried by `packaging/deb/try-system.sh`; here stands what can be shown on any machine.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::BTreeSet;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Folder, Hub, Room, eventually};

const PATIENCE: Duration = Duration::from_secs(120);

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("packaging/systemd")
}

/// What systemd thinks of a unit: 0.0 is shut, 10.0 is open.
fn exposure(unit: &str) -> Option<f64> {
    let folder = tempfile::tempdir().unwrap();
    // The program is not installed here; what it may do is the same.
    let text = std::fs::read_to_string(units().join(unit)).unwrap();
    let text: Vec<_> =
        text.lines().map(|l| if l.starts_with("ExecStart=") { "ExecStart=/bin/true" } else { l }).collect();
    let path = folder.path().join(unit.replace("@.", "@1."));
    std::fs::write(&path, text.join("\n")).unwrap();
    let out =
        Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(&path).output().ok()?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = said.lines().find(|line| line.contains("Overall exposure level"))?;
    line.split_whitespace().find_map(|word| word.parse().ok())
}

#[test]
fn the_units_are_as_shut_as_their_work_allows() {
    for (unit, most) in
        [("lectern.service", 1.5), ("lectern-hub.service", 1.5), ("lectern-recorder@.service", 3.0)]
    {
        match exposure(unit) {
            Some(found) => assert!(found <= most, "{unit}: {found}, at most {most}"),
            None => lectern_tests::skipped(&format!("{unit}: systemd-analyze here does not know --offline")),
        }
    }
}

/// What units may say that systemd 241 understands, the one of UOS V20 and Debian 10.
const KNOWN: &[&str] = &[
    "Accept",
    "After",
    "AmbientCapabilities",
    "Before",
    "BindReadOnlyPaths",
    "CPUWeight",
    "CapabilityBoundingSet",
    "CollectMode",
    "Description",
    "DeviceAllow",
    "DevicePolicy",
    "Documentation",
    "Environment",
    "ExecStart",
    "Group",
    "IOWeight",
    "InaccessiblePaths",
    "KillMode",
    "LimitCORE",
    "LimitNOFILE",
    "ListenStream",
    "LockPersonality",
    "MaxConnections",
    "MemoryDenyWriteExecute",
    "MemoryMax",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateMounts",
    "PrivateTmp",
    "PrivateUsers",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectSystem",
    "ReadWritePaths",
    "RemoveIPC",
    "Restart",
    "RestartPreventExitStatus",
    "RestartSec",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RuntimeDirectory",
    "RuntimeDirectoryMode",
    "Slice",
    "SocketGroup",
    "SocketMode",
    "SocketUser",
    "StandardError",
    "StandardInput",
    "StandardOutput",
    "StartLimitIntervalSec",
    "StateDirectory",
    "StateDirectoryMode",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "SystemCallFilter",
    "TasksMax",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "Type",
    "UMask",
    "User",
    "WantedBy",
    "Wants",
    "WatchdogSec",
];

/// What later versions brought: since when, and what is lost where it is not known. It is passed over there with a word in
/// the journal, so it may only shut a door more tightly.
const NEWER: &[(&str, u16, &str)] = &[
    (
        "ProtectHostname",
        242,
        "the machine's name; to change it takes a capability that the units do not have",
    ),
    (
        "RestrictSUIDSGID",
        242,
        "files with the set-user bit; NoNewPrivileges makes them worth nothing to these programs",
    ),
    ("ProtectKernelLogs", 244, "the kernel's log; to read it takes a capability that the units do not have"),
    ("ProtectClock", 245, "the clock; to set it takes a capability that the units do not have"),
    ("ProtectProc", 247, "other users' processes are seen, as by every user of such a machine"),
];

/// Groups of system calls that 241 knows.
const CALLS: &[&str] = &["@system-service", "@privileged", "@resources"];

fn age_faults(unit: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for line in unit.lines().filter(|line| !line.starts_with(['#', ';', '['])) {
        let Some((name, value)) = line.split_once('=') else { continue };
        if !KNOWN.contains(&name) && !NEWER.iter().any(|(newer, ..)| *newer == name) {
            faults.push(format!("{name}: since which systemd? Name it in tests/units.rs"));
        }
        if name == "SystemCallFilter" {
            let groups = value.trim_start_matches('~').split_whitespace();
            faults.extend(
                groups
                    .filter(|g| g.starts_with('@') && !CALLS.contains(g))
                    .map(|g| format!("{g} is not of 241")),
            );
        }
    }
    faults
}

#[test]
fn what_older_systemds_do_not_know_only_shuts_doors_more_tightly() {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(units()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(age_faults(&text), Vec::<String>::new(), "{}", path.display());
        seen.extend(text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.to_owned()));
    }
    for (name, since, why) in NEWER {
        assert!(
            *since > 241 && !why.is_empty() && seen.contains(*name),
            "{name} needs no exception any more"
        );
    }
    // What the exceptions lean on, where the directives are not known.
    for unit in ["lectern.service", "lectern-recorder@.service", "lectern-hub.service"] {
        let text = std::fs::read_to_string(units().join(unit)).unwrap();
        let caps = text.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
        assert!(
            !["CAP_SYS_ADMIN", "CAP_SYSLOG", "CAP_SYS_TIME"].iter().any(|cap| caps.contains(cap)),
            "{unit}: {caps}"
        );
        assert!(text.contains("\nNoNewPrivileges=yes\n"), "{unit}");
    }
    let bad = "# ExtensionImages=x\n[Service]\nExtensionImages=/x\nSystemCallFilter=~@privileged @known\n";
    assert_eq!(age_faults(bad).len(), 2);
}

#[test]
fn the_units_bound_what_lectern_takes_from_teaching() {
    for (unit, limits) in [
        (
            "lectern.service",
            &["Slice=lectern.slice", "CPUWeight=", "IOWeight=", "MemoryMax=", "TasksMax=", "WatchdogSec="][..],
        ),
        (
            "lectern-recorder@.service",
            &["Slice=lectern-recorder.slice", "CPUWeight=", "IOWeight=", "MemoryMax=", "TasksMax="],
        ),
        ("lectern-hub.service", &["MemoryMax=", "TasksMax=", "WatchdogSec="]),
        ("lectern.slice", &["CPUWeight=50", "IOWeight=50", "MemoryMax="]),
    ] {
        let text = std::fs::read_to_string(units().join(unit)).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for limit in limits {
            assert!(lines.iter().any(|line| line.starts_with(limit)), "{unit} lacks {limit}");
        }
    }
}

#[test]
fn a_crash_leaves_no_core() {
    for unit in ["lectern.service", "lectern-recorder@.service", "lectern-hub.service"] {
        let text = std::fs::read_to_string(units().join(unit)).unwrap();
        assert!(
            text.lines().any(|line| line == "LimitCORE=0"),
            "{unit}: a core would hold keys and passwords"
        );
    }
}

#[test]
fn a_stop_that_waits_ends_when_the_lesson_is_signed() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (mut hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    // Signed is enough: a package does not wait for a hub that may be away.
    hub.process.stop();
    agent.press("start").unwrap();
    let status = agent.wait_for_media(2000, PATIENCE).unwrap();
    let lesson = agent.data.join("lessons").join(status["lesson"]["id"].as_str().unwrap());
    for _ in 0..2 {
        let (answer, code) = agent.lectern(&["record", "stop", "--wait", "60"]).unwrap();
        assert_eq!((answer["open"].is_null(), code), (true, 0), "{answer}");
        assert!(lesson.join("manifest.json").is_file(), "the lesson is signed by then");
    }
}

/// What systemd does for `lectern-recorder.socket`: for each connection a process that has it as its standard input.
struct Socket {
    path: PathBuf,
    answering: Arc<Mutex<Vec<Child>>>,
}

impl Socket {
    fn open(folder: &Folder, programs: &Programs) -> Self {
        let path = folder.join("recorder.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let answering = Arc::new(Mutex::new(Vec::new()));
        let (programs, children) = (programs.clone(), Arc::clone(&answering));
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let mut answer = Command::new(&programs.lectern);
                answer.arg("answer").arg("--recorder").arg(&programs.recorder);
                answer.stdin(Stdio::from(std::os::fd::OwnedFd::from(connection)));
                children.lock().unwrap().push(answer.spawn().unwrap());
            }
        });
        Self { path, answering }
    }

    /// The recorders that were started by it and still run: process id and first word.
    fn recorders(&self) -> Vec<(u32, String)> {
        let children = self.answering.lock().unwrap();
        let of = |pid: u32| {
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
        };
        let pids = children.iter().flat_map(|c| {
            of(c.id()).split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        });
        pids.filter_map(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let verb = line.split(|b| *b == 0).nth(1)?;
            Some((pid, String::from_utf8_lossy(verb).into_owned()))
        })
        .collect()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        for (pid, _) in self.recorders() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        for child in self.answering.lock().unwrap().iter_mut() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

#[test]
fn a_lesson_outlives_the_agent_when_its_recorder_has_a_unit_of_its_own() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let socket = Socket::open(&folder, &programs);
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut room = Room::card();
    room.env.push(("LECTERN_RECORDER_SOCKET".into(), socket.path.to_string_lossy().into_owned()));
    let mut agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();

    agent.press("start").unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    let recording =
        || socket.recorders().into_iter().filter(|(_, verb)| verb == "record").collect::<Vec<_>>();
    let before = recording();
    assert_eq!(before.len(), 1, "one recorder, started by the socket: {before:?}");

    // With the agent goes all that it had started, as when systemd kills its unit.
    agent.process.kill();
    folder.processes().into_iter().filter(|pid| is_call(*pid)).for_each(kill);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(recording(), before, "the lesson goes on");
    agent.restart(&folder).unwrap();
    agent.wait_for(&["recording"], PATIENCE).unwrap();
    let at = agent.status().unwrap()["lesson"]["media_ms"].as_u64().unwrap();
    let status = agent.wait_for_media(at + 3000, PATIENCE).unwrap();
    assert_eq!((&status["lesson"]["take"], recording()), (&1.into(), before), "adopted, in the same take");
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let report = agent.verify(&hub.lesson_folder(status["lesson"]["id"].as_str().unwrap())).unwrap();
    assert!(report["sound"] == true && report["uninterrupted"] == true, "{report:#}");

    // A recorder that hangs is replaced here too: the agent's signals reach it.
    agent.press("start").unwrap();
    agent.wait_for_media(1000, PATIENCE).unwrap();
    let hung = recording()[0].0;
    signal(hung, rustix::process::Signal::STOP);
    let replaced = eventually(PATIENCE, "another recorder", || {
        recording().iter().map(|(pid, _)| *pid).find(|pid| *pid != hung)
    });
    assert_ne!(replaced.unwrap(), hung);
    assert!(eventually(PATIENCE, "the end of the hung one", || (!alive(hung)).then_some(())).is_ok());
    agent.press("stop").unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
}

fn is_call(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|b| *b == 0).nth(1) == Some(b"call".as_slice())
}

fn signal(pid: u32, what: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, what).ok();
}

fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

/// Whether it runs; one that is dead and not yet waited for does not.
fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[test]
fn systemd_is_told_of_the_start_and_that_all_is_well() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let path = folder.join("notify");
    let listener = UnixDatagram::bind(&path).unwrap();
    listener.set_read_timeout(Some(PATIENCE)).unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut room = Room::card();
    room.env.push(("NOTIFY_SOCKET".into(), path.to_string_lossy().into_owned()));
    room.env.push(("WATCHDOG_USEC".into(), "400000".into()));
    let _agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    let mut heard = Vec::new();
    while heard.iter().filter(|word| *word == "WATCHDOG=1").count() < 3 {
        let mut word = [0; 64];
        let n = listener.recv(&mut word).unwrap();
        heard.push(String::from_utf8_lossy(&word[..n]).into_owned());
    }
    assert_eq!(heard[0], "READY=1", "{heard:?}");
}

/// Every long option of a help text.
fn options(help: &str) -> BTreeSet<String> {
    let words = help.split(|c: char| c.is_whitespace() || ",[]<>='`;.()".contains(c));
    words.filter(|w| w.starts_with("--") && w.len() > 2).map(str::to_owned).collect()
}

#[test]
fn man_pages_and_completions_say_what_help_says() {
    let programs = Programs::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, program) in [
        ("lectern", &programs.lectern),
        ("lectern-recorder", &programs.recorder),
        ("lectern-hub", &programs.hub),
    ] {
        let out = Command::new(program).arg("papers").arg(folder.path()).output().unwrap();
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        let man = folder.path().join("man/man1");
        let pages: Vec<String> = std::fs::read_dir(&man)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|file| file == &format!("{name}.1") || file.starts_with(&format!("{name}-")))
            .filter(|file| {
                name != "lectern" || !["lectern-recorder", "lectern-hub"].iter().any(|n| file.starts_with(n))
            })
            .collect();
        assert!(pages.len() > 5, "{name}: {pages:?}");
        for page in &pages {
            let text = std::fs::read_to_string(man.join(page)).unwrap().replace("\\-", "-");
            let verbs = page.trim_end_matches(".1").strip_prefix(name).unwrap().to_owned();
            let help = help_of(program, verbs.trim_start_matches('-'));
            for option in options(&help) {
                assert!(text.contains(&option), "{page} does not tell of {option}");
            }
        }
        let bash =
            std::fs::read_to_string(folder.path().join("bash-completion/completions").join(name)).unwrap();
        for text in [bash, std::fs::read_to_string(man.join(format!("{name}.1"))).unwrap()] {
            assert!(!text.contains("papers"), "{name}: what is not for people is not told of");
        }
    }
}

/// The help of a verb given as `record-start`: a verb's own name may hold a hyphen.
fn help_of(program: &Path, verbs: &str) -> String {
    let words: Vec<&str> = verbs.split('-').filter(|w| !w.is_empty()).collect();
    for split in 0..(1_u32 << words.len().saturating_sub(1)) {
        let mut spoken: Vec<String> = Vec::new();
        for (n, word) in words.iter().enumerate() {
            match spoken.last_mut() {
                Some(last) if n > 0 && split & (1 << (n - 1)) != 0 => *last = format!("{last}-{word}"),
                _ => spoken.push((*word).to_owned()),
            }
        }
        let out = Command::new(program).args(&spoken).arg("--help").output().unwrap();
        if out.status.success() {
            return String::from_utf8_lossy(&out.stdout).into_owned();
        }
    }
    panic!("no help for {verbs}");
}

#[test]
fn data_of_a_newer_version_is_left_alone_with_a_sentence_and_no_restart() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (mut hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    agent.process.stop();
    hub.process.stop();
    for (program, config, db) in [
        (&programs.lectern, &agent.config, agent.data.join("state.db")),
        (&programs.hub, &hub.config, hub.data.join("hub.db")),
    ] {
        let rows = rusqlite::Connection::open(&db).unwrap();
        rows.pragma_update(None, "user_version", 99).unwrap();
        drop(rows);
        let before = std::fs::read(&db).unwrap();
        let out = Command::new(program).args(["run", "--config"]).arg(config).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(78), "the number that units do not restart on: {said}");
        assert!(said.contains("99") && said.contains("newer") && said.contains("again"), "{said}");
        assert_eq!(std::fs::read(&db).unwrap(), before, "not a byte of it is changed");
    }
}

/// The fields of a message in the journal's own protocol.
fn fields(datagram: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            found.push((name.to_owned(), value.to_owned()));
        } else if rest.len() >= 8 {
            let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
            found.push((line, String::from_utf8_lossy(&rest[8..8 + length]).into_owned()));
            rest = &rest[8 + length + 1..];
        }
    }
    found
}

#[test]
fn the_journal_can_be_asked_for_a_room_and_for_a_lesson() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let path = folder.join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    // Read all the time, as the journal does: whoever writes to it waits otherwise.
    let heard = Arc::new(Mutex::new(Vec::new()));
    std::thread::spawn({
        let heard = Arc::clone(&heard);
        move || {
            let mut bytes = vec![0; 256 * 1024];
            while let Ok(n) = journal.recv(&mut bytes) {
                heard.lock().unwrap().push(fields(&bytes[..n]));
            }
        }
    });
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    agent.process.stop();
    std::fs::remove_file(agent.data.join("run/page.addr")).unwrap();
    // The journal's socket has one name on a machine: here in a mount namespace of its own.
    let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && : >/run/systemd/journal/socket && \
                  mount --bind \"$1\" /run/systemd/journal/socket && \
                  JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec \"$2\" run --config \"$3\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"]);
    command.arg(&path).arg(&programs.lectern).arg(&agent.config);
    agent.process = lectern_tests::Process::start(&folder, "agent-journal", command).unwrap();
    let ready = eventually(PATIENCE, "the agent's page", || agent.status().ok());
    if ready.is_err() && rustix::process::getuid().as_raw() != 0 {
        return lectern_tests::skipped("a mount namespace needs root");
    }
    ready.unwrap();
    agent.press("start").unwrap();
    agent.wait_for_media(1000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap();
    let of = |said: &[(String, String)], name: &str| {
        said.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let both = eventually(PATIENCE, "both programs' words of the lesson", || {
        let said = heard.lock().unwrap();
        let of_lesson: Vec<_> = said.iter().filter(|line| of(line, "LESSON") == lesson).collect();
        assert!(of_lesson.iter().all(|line| of(line, "ROOM") == "301教室"), "{of_lesson:?}");
        let from = |program: &str| of_lesson.iter().any(|line| of(line, "SYSLOG_IDENTIFIER") == program);
        (from("lectern") && from("lectern-recorder")).then_some(())
    });
    both.unwrap();
}
