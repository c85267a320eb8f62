//! What a technician asks of a room from the console: each command is carried out once, none in a lesson that
//! would end it, and what became of it is told. The machine's own `systemctl` is stood in for by a script that
//! notes what it was asked: nobody's machine is switched off here. Its `apt-cache` says what a file of the test says.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_base::clock;
use lectern_tests::browser::pictures;
use lectern_tests::projector::{PASSWORD, Projector};
use lectern_tests::school::DEVICE;
use lectern_tests::{Agent, Browser, Console, Folder, Hub, Room, School, eventually};

const PATIENCE: Duration = Duration::from_secs(120);

struct Line {
    school: School,
    console: Console,
    asked: PathBuf,
    /// The network card of another machine that sleeps.
    card: UdpSocket,
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A school whose rooms find a `systemctl` that only notes what it was asked.
async fn line() -> Line {
    line_with(None, 5).await
}

async fn line_with(projector: Option<&Projector>, countdown_s: u32) -> Line {
    let folder = Folder::new().unwrap();
    let (bin, asked) = (folder.join("bin"), folder.join("asked"));
    std::fs::create_dir_all(&bin).unwrap();
    let text = format!(
        "#!/bin/sh\necho \"$@\" >> {}\n[ \"$1\" = is-system-running ] && echo running\nexit 0\n",
        asked.display()
    );
    script(&bin.join("systemctl"), &text);
    let text = format!(
        "#!/bin/sh\n[ \"$LC_ALL $*\" = 'C policy lectern' ] && cat {}/policy\n",
        folder.path().display()
    );
    script(&bin.join("apt-cache"), &text);
    let card = UdpSocket::bind("127.0.0.1:0").unwrap();
    card.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut room = Room::card();
    room.env.push(("PATH".into(), path));
    room.env.push(("INVOCATION_ID".into(), "0123456789abcdef0123456789abcdef".into()));
    let wakes = card.local_addr().unwrap();
    room.sources
        .push_str(&format!("\n[commands]\ncountdown_s = {countdown_s}\nwake_address = \"{wakes}\"\n"));
    if let Some(Projector { port, .. }) = projector {
        let secret = folder.join("projector.password");
        std::fs::write(&secret, PASSWORD).unwrap();
        room.sources.push_str(&format!(
            "[projector]\nhost = \"127.0.0.1\"\nport = {port}\npassword_file = {secret:?}\n\
             interval_s = 3600\n"
        ));
    }
    let school = School::start_in(folder, &room).unwrap();
    let console = Console::admin(&school.hub).await.unwrap();
    Line { school, console, asked, card }
}

impl Line {
    async fn give(&self, verb: &str, more: &[(&str, &str)]) {
        let form: Vec<_> = [("verb", verb)].iter().chain(more).copied().collect();
        let answer = self.console.post(&format!("/rooms/{DEVICE}/commands"), &form).await.unwrap();
        assert_eq!(answer.status(), 303, "{verb}");
    }

    /// State and detail of the newest command, once it is in one of these states.
    fn becomes(&self, states: &[&str]) -> (String, String) {
        let mut last = (String::new(), String::new());
        let found = eventually(PATIENCE, &format!("a command that is {}", states.join(" or ")), || {
            last = newest(&self.school.hub)?;
            states.contains(&last.0.as_str()).then(|| last.clone())
        });
        found.unwrap_or_else(|e| panic!("{e}: it is {last:?}\n{}", self.school.agent.process.tail_of_log()))
    }

    /// Waits until the room's page at the hub shows this.
    async fn shows(&self, text: &str) {
        let give_up = clock::mono() + PATIENCE;
        loop {
            let page = self.console.page(&format!("/rooms/{DEVICE}")).await.unwrap();
            if page.contains(text) {
                return;
            }
            assert!(clock::mono() < give_up, "{text} does not come: {page}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn agent(&self) -> &Agent {
        &self.school.agent
    }

    fn was_asked(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.asked).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with("is-system")).map(str::to_owned).collect()
    }
}

fn newest(hub: &Hub) -> Option<(String, String)> {
    let rows = hub.rows().ok()?;
    let sql = "SELECT state, detail FROM command ORDER BY n DESC LIMIT 1";
    rows.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).ok()
}

#[tokio::test]
async fn what_is_asked_of_a_room_is_done_and_told() {
    let line = line().await;
    line.give("refresh", &[]).await;
    line.becomes(&["successful"]);
    line.give("doctor", &[]).await;
    let (_, told) = line.becomes(&["successful", "failed"]);
    assert!(told.contains("recorder"), "what the doctor says: {told}");
    line.give("preflight", &[]).await;
    let (_, told) = line.becomes(&["successful"]);
    assert!(told.contains("正常"), "{told}");
    line.give("wake", &[("mac", "aa:bb:cc:dd:ee:ff")]).await;
    line.becomes(&["successful"]);
    // What a sleeping card listens for: six times 255 and sixteen times its own address.
    let mut packet = [0; 200];
    let length = line.card.recv(&mut packet).unwrap();
    let mac = [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
    assert_eq!(packet[..length], [vec![0xff; 6], mac.repeat(16)].concat());
    // There is no projector here: no button, and no pretence.
    let page = line.console.page(&format!("/rooms/{DEVICE}")).await.unwrap();
    assert!(page.contains("立即读取") && !page.contains("投影机</button>"), "{page}");
    line.give("projector_on", &[]).await;
    let (_, told) = line.becomes(&["failed"]);
    assert!(told.contains("没有投影机"), "{told}");
    for (verb, field, value) in
        [("wake", "mac", "elephant"), ("message", "text", " "), ("start", "text", "x")]
    {
        let form = [("verb", verb), (field, value)];
        let answer = line.console.post(&format!("/rooms/{DEVICE}/commands"), &form).await.unwrap();
        assert_eq!(answer.status(), 422, "{verb}");
    }
    assert!(line.was_asked().is_empty(), "nothing of this touches the machine");
}

#[tokio::test]
async fn a_technician_learns_of_a_newer_version_and_reads_the_detailed_log_for_a_while() {
    let line = line().await;
    let policy = |installed: &str, candidate: &str| {
        let text =
            format!("lectern:\n  Installed: {installed}\n  Candidate: {candidate}\n  Version table:\n");
        std::fs::write(line.school.folder.join("policy"), text).unwrap();
    };
    for (installed, candidate, state, word) in [
        ("0.1.0", "0.9.9", "successful", "可以升级到 0.9.9"),
        ("0.9.9", "0.9.9", "successful", "已是最新"),
        ("(none)", "(none)", "failed", "软件源里没有"),
    ] {
        policy(installed, candidate);
        line.give("update_check", &[]).await;
        let (became, told) = line.becomes(&["successful", "failed"]);
        assert!(became == state && told.contains(word), "{installed} {candidate}: {became} {told}");
    }
    // One that cannot answer says why, and is not taken for one that knows of nothing newer.
    std::fs::remove_file(line.school.folder.join("policy")).unwrap();
    line.give("update_check", &[]).await;
    let (became, told) = line.becomes(&["successful", "failed"]);
    assert!(became == "failed" && told.contains("No such file"), "{became} {told}");

    let detailed = || {
        let log = std::fs::read_to_string(line.agent().process.log()).unwrap();
        log.lines()
            .filter(|l| l.split_whitespace().nth(1) == Some("DEBUG"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(detailed(), Vec::<String>::new(), "nobody asked for it yet");
    line.give("debug", &[]).await;
    line.becomes(&["successful"]);
    line.give("refresh", &[]).await;
    line.becomes(&["successful"]);
    for word in ["a sample", "to the broker"] {
        let said = || detailed().iter().any(|l| l.contains(word)).then_some(());
        eventually(PATIENCE, word, said).unwrap_or_else(|e| panic!("{e}: {:#?}", detailed()));
    }
    line.give("info", &[]).await;
    line.becomes(&["successful"]);
    let so_far = detailed();
    line.give("refresh", &[]).await;
    line.becomes(&["successful"]);
    let samples = || -> i64 {
        line.school
            .hub
            .rows()
            .unwrap()
            .query_row("SELECT count(*) FROM sample", [], |row| row.get(0))
            .unwrap()
    };
    let before = samples();
    eventually(PATIENCE, "more samples", || (samples() > before).then_some(())).unwrap();
    assert_eq!(detailed(), so_far, "nothing more in detail");
}

#[tokio::test]
async fn a_machine_that_nobody_needs_is_switched_off_when_the_countdown_ends() {
    let line = line().await;
    line.give("power_off", &[]).await;
    line.becomes(&["running"]);
    let counts = || line.agent().status().ok().filter(|s| s["power"]["off"] == true);
    eventually(PATIENCE, "a countdown", counts).unwrap();
    let off = || (line.was_asked() == ["poweroff"]).then_some(());
    eventually(PATIENCE, "a machine that is asked to switch itself off", off).unwrap();
    // It goes off now: until then nothing else is begun, and nobody puts it off.
    line.give("reboot", &[]).await;
    assert_eq!(line.becomes(&["denied"]).0, "denied");
    assert_eq!(line.was_asked(), ["poweroff"]);
}

#[tokio::test]
async fn a_machine_that_records_is_not_switched_off_and_the_teacher_can_put_it_off() {
    // Long enough for a hand to reach the page on a slow machine.
    let line = line_with(None, 30).await;
    line.agent().press("start").unwrap();
    line.agent().wait_for_media(1500, PATIENCE).unwrap();
    line.give("power_off", &[]).await;
    let (state, told) = line.becomes(&["denied", "failed", "successful"]);
    assert_eq!((state.as_str(), told.contains("正在录课")), ("denied", true), "{told}");
    line.agent().press("stop").unwrap();
    line.agent().wait_for(&["stored"], PATIENCE).unwrap();

    // Put off on the page, by a hand.
    let browser = Browser::start(&line.school.folder, "teacher").await.unwrap();
    let page = std::fs::read_to_string(line.agent().data.join("run/page.addr")).unwrap();
    browser.open(&format!("http://{page}/")).await.unwrap();
    line.give("power_off", &[]).await;
    line.becomes(&["running"]);
    eventually(PATIENCE, "a countdown", || line.agent().status().ok().filter(|s| s["power"]["off"] == true))
        .unwrap();
    browser.click("#desk-act").await.unwrap();
    eventually(PATIENCE, "ten minutes more", || {
        line.agent().status().ok().filter(|s| s["power"]["in_ms"].as_u64().is_some_and(|ms| ms > 500_000))
    })
    .unwrap();
    browser.screenshot(&pictures().unwrap().join("command-countdown.png")).await.unwrap();
    eventually(PATIENCE, "the hub to know who put it off", || {
        newest(&line.school.hub).filter(|(state, told)| state == "running" && told.contains("教师推迟到"))
    })
    .unwrap();
    assert!(line.was_asked().is_empty());

    // A second one while it counts is refused; a lesson ends the first.
    line.give("reboot", &[]).await;
    assert_eq!(line.becomes(&["denied"]).0, "denied");
    line.agent().press("start").unwrap();
    line.agent().wait_for_media(1500, PATIENCE).unwrap();
    eventually(PATIENCE, "no countdown", || line.agent().status().ok().filter(|s| s["power"].is_null()))
        .unwrap();
    line.agent().press("stop").unwrap();
    line.agent().wait_for(&["stored"], PATIENCE).unwrap();
    line.give("reboot", &[]).await;
    eventually(2 * PATIENCE, "a machine that is asked to restart", || {
        (line.was_asked() == ["reboot"]).then_some(())
    })
    .unwrap();
}

#[tokio::test]
async fn a_note_stands_on_the_page_until_it_is_read_and_a_restart_is_known_to_be_done() {
    let mut line = line().await;
    line.give("message", &[("text", "第3节后请到会议室<b>")]).await;
    line.becomes(&["running"]);
    let browser = Browser::start(&line.school.folder, "teacher").await.unwrap();
    let page = std::fs::read_to_string(line.agent().data.join("run/page.addr")).unwrap();
    browser.open(&format!("http://{page}/")).await.unwrap();
    browser.wait_text("#desk-text", "第3节后请到会议室<b>", PATIENCE).await.unwrap();
    browser.screenshot(&pictures().unwrap().join("command-note.png")).await.unwrap();
    browser.click("#desk-act").await.unwrap();
    assert_eq!(line.becomes(&["successful"]).1, "教师已看到");
    drop(browser);

    // A device that is away gets it when it is back.
    line.school.agent.process.stop();
    line.give("refresh", &[]).await;
    line.school.agent.restart(&line.school.folder).unwrap();
    line.becomes(&["successful"]);

    line.give("restart_agent", &[]).await;
    let process = &mut line.school.agent.process;
    eventually(PATIENCE, "an agent that ends to be started again", || (!process.running()).then_some(()))
        .unwrap();
    line.school.agent.restart(&line.school.folder).unwrap();
    assert_eq!(line.becomes(&["successful"]).1, "重新启动了程序");
}

#[tokio::test]
async fn the_projector_is_switched_when_it_is_told_to_and_not_off_in_a_lesson() {
    let projector = Projector::start().unwrap();
    let line = line_with(Some(&projector), 5).await;
    line.shows(">打开投影机</button>").await;
    line.shows(">关闭投影机</button>").await;
    let browser = Browser::start(&line.school.folder, "technician").await.unwrap();
    let hub = &line.school.hub;
    browser.open(&format!("{}/rooms/{DEVICE}", hub.url())).await.unwrap();
    browser.type_into("input[name=password]", &hub.admin_password).await.unwrap();
    browser.click("button").await.unwrap();
    browser.wait_text("#commands", "关闭投影机", PATIENCE).await.unwrap();
    browser.screenshot(&pictures().unwrap().join("command-projector.png")).await.unwrap();
    drop(browser);

    line.agent().press("start").unwrap();
    line.agent().wait_for_media(1500, PATIENCE).unwrap();
    line.give("projector_off", &[]).await;
    let (state, told) = line.becomes(&["denied", "failed", "successful"]);
    assert_eq!((state.as_str(), told.contains("正在录课")), ("denied", true), "{told}");
    assert_eq!(projector.says().power, 1);
    line.agent().press("stop").unwrap();
    line.agent().wait_for(&["stored"], PATIENCE).unwrap();

    for (verb, said, power) in [
        ("projector_off", "正在冷却", 0),
        ("projector_off", "已关闭", 0),
        ("projector_on", "正在预热", 1),
        ("projector_on", "已打开", 1),
    ] {
        line.give(verb, &[]).await;
        let (state, told) = line.becomes(&["successful", "failed", "denied"]);
        assert_eq!((state.as_str(), told.contains(said)), ("successful", true), "{verb}: {told}");
        assert_eq!(projector.says().power, power, "{verb}");
    }

    // One that cannot now, one of the older class, one that has died.
    projector.now(|says| (says.power, says.class, says.settles) = (2, 1, false));
    line.give("projector_on", &[]).await;
    let (_, told) = line.becomes(&["failed"]);
    assert!(told.contains("cooling down"), "{told}");
    projector.now(|says| (says.power, says.settles) = (0, true));
    line.give("projector_on", &[]).await;
    assert!(line.becomes(&["successful"]).1.contains("正在预热"));
    projector.now(|says| says.dead = true);
    line.give("projector_off", &[]).await;
    let (_, told) = line.becomes(&["failed"]);
    assert!(told.contains("does not answer"), "{told}");
}
