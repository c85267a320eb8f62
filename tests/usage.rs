//! A room's use is seen for real: an X display, a key that is pressed, the helper in the session, bells that ring while the
//! test looks; what arrives at the hub, what a teacher says about it, and what a helper that is missing comes to.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::school::DEVICE;
use lectern_tests::screen::Screen;
use lectern_tests::wayland::Wayland;
use lectern_tests::{Folder, Process, Room, School, eventually};
use serde_json::{Value, json};
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{self, ConnectionExt as _};
use x11rb::protocol::xtest::ConnectionExt as _;

/// A period takes a minute, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// Presses and lets go a key, as a hand on the keyboard does.
fn press_a_key(display: &str) {
    let (server, _) = x11rb::connect(Some(display)).unwrap();
    let (root, key) = (server.setup().roots[0].root, server.setup().min_keycode + 30);
    for kind in [xproto::KEY_PRESS_EVENT, xproto::KEY_RELEASE_EVENT] {
        server.xtest_fake_input(kind, key, 0, root, 0, 0, 0).unwrap();
    }
    server.get_input_focus().unwrap().reply().unwrap();
}

/// Local time: seconds since midnight, and 1 for Monday.
fn local_time() -> (u32, u32) {
    let out = Command::new("date").arg("+%H %M %S %u").output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let numbers: Vec<u32> = said.split_whitespace().map(|n| n.parse().unwrap()).collect();
    (numbers[0] * 3600 + numbers[1] * 60 + numbers[2], numbers[3])
}

/// Two periods of a minute each, the first of which begins now.
fn timetable() -> String {
    let (now, weekday) = local_time();
    // Bells stand on whole minutes of one day; the offset makes up the rest.
    let minute = (now / 60).min(24 * 60 - 4);
    let bell = |n: u32| format!("{:02}:{:02}", (minute + n) / 60, (minute + n) % 60);
    format!(
        "bell_offset_s = {}\n\
         [[period]]\nname = \"第3节\"\nstart = \"{}\"\nend = \"{}\"\n\
         [[period]]\nname = \"第4节\"\nstart = \"{}\"\nend = \"{}\"\n\
         [[lesson]]\nweekday = {weekday}\nperiod = \"第3节\"\nclass = \"五年级2班\"\nsubject = \"语文\"\n\
         teacher = \"张老师\"\nteacher_id = \"T1024\"\n",
        now - minute * 60,
        bell(0),
        bell(1),
        bell(1),
        bell(2),
    )
}

/// What the hub has of this room's use, in the order it came.
fn arrived(school: &School) -> Vec<Value> {
    let rows = school.hub.rows().unwrap();
    let sql = "SELECT body FROM event WHERE device = ? AND kind = 'usage' ORDER BY seq";
    let mut statement = rows.prepare(sql).unwrap();
    let found = statement.query_map([DEVICE], |row| row.get::<_, String>(0)).unwrap();
    found.map(|body| serde_json::from_str::<Value>(&body.unwrap()).unwrap()["data"].take()).collect()
}

fn wait_for_row(school: &School, n: usize) -> Value {
    let found = eventually(PATIENCE, "a row of the register", || arrived(school).get(n - 1).cloned());
    found.unwrap_or_else(|e| panic!("{e}\n{}", school.agent.process.tail_of_log()))
}

/// The helper, as a desktop starts it at login.
fn helper(folder: &Folder, socket: &Path, env: &[(String, String)]) -> Process {
    let mut helper = Command::new(Programs::find().unwrap().lectern);
    helper.arg("session").arg("--socket").arg(socket);
    for name in ["DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"] {
        helper.env_remove(name);
    }
    helper.envs(env.iter().cloned());
    Process::start(folder, "session", helper).unwrap()
}

/// The helper of a room's own desktop.
fn helper_of(school: &School, env: &[(String, String)]) -> Process {
    helper(&school.folder, &school.agent.data.join("run/session.sock"), env)
}

#[test]
fn a_period_somebody_worked_in_is_used_and_one_that_was_not_seen_is_unknown() {
    let folder = Folder::new().unwrap();
    let screen = Screen::blank(&folder).unwrap();
    // A machine made of files: a display that is plugged in and awake.
    let machine = folder.make("machine").unwrap();
    let connector = machine.join("sys/class/drm/card0-HDMI-A-1");
    std::fs::create_dir_all(&connector).unwrap();
    for (file, text) in [("status", "connected\n"), ("enabled", "enabled\n"), ("dpms", "On\n")] {
        std::fs::write(connector.join(file), text).unwrap();
    }
    let table = folder.join("timetable.toml");
    let mut room = Room::card();
    room.sources += &format!("[school_day]\ntimetable = {table:?}\npreflight_before_bell_min = 0\n");
    let mut school = School::start_in(folder, &room).unwrap();
    school.agent.process.stop();
    let text = std::fs::read_to_string(&school.agent.config).unwrap();
    let text = text
        .replace("[sense]\n", &format!("[sense]\nhost = {machine:?}\n"))
        .replace("[usage]\n", "[usage]\nused_after_s = 20\ninput_counts_s = 30\n");
    std::fs::write(&school.agent.config, text).unwrap();
    std::fs::write(&table, timetable()).unwrap();
    school.agent.restart(&school.folder).unwrap();

    let mut session = helper_of(&school, &[("DISPLAY".into(), screen.display().into())]);
    // Somebody is at work until the bell: each key counts for half a minute.
    let first = eventually(PATIENCE, "the first row", || {
        press_a_key(screen.display());
        std::thread::sleep(Duration::from_secs(2));
        arrived(&school).first().cloned()
    });
    let first = first.unwrap_or_else(|e| panic!("{e}\n{}", school.agent.process.tail_of_log()));
    session.must_run().unwrap();
    let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
    assert_eq!(
        (&first["period"], &first["used"], &first["source"]),
        (&"第3节".into(), &"used".into(), &"auto".into()),
        "{first:#}"
    );
    assert_eq!((&first["class"], &first["teacher_id"]), (&"五年级2班".into(), &"T1024".into()), "{first:#}");
    assert!(
        number(&first, "used_s") >= 20 && number(&first, "used_s") <= number(&first, "known_s"),
        "{first:#}"
    );
    assert!(number(&first, "display_on_s") >= number(&first, "used_s"), "{first:#}");
    assert!(first["actual_start_ms"].as_i64() >= first["planned_start_ms"].as_i64(), "{first:#}");

    // In the next period the helper is missing, and the agent is killed and started again: whether somebody worked nobody
    // knows, and the first row is not written again.
    session.kill();
    school.agent.process.kill();
    school.agent.restart(&school.folder).unwrap();

    // Meanwhile a teacher corrects the first row: the word stands beside it.
    let date = first["date"].as_str().unwrap();
    let said = [
        "usage",
        "--date",
        date,
        "--period",
        "第3节",
        "--used",
        "no",
        "--by",
        "张老师",
        "--by-id",
        "T1024",
        "--fault",
        "有人路过",
    ];
    let (_, code) = school.agent.lectern(&said).unwrap();
    assert_eq!(code, 0);
    let word = wait_for_row(&school, 2);
    assert_eq!(
        (&word["source"], &word["used"], &word["by"]),
        (&"corrected".into(), &"not".into(), &"张老师".into()),
        "{word:#}"
    );
    assert_eq!(
        (&word["fault_note"], &word["period"], &word["used_s"]),
        (&"有人路过".into(), &"第3节".into(), &0.into())
    );

    let second = wait_for_row(&school, 3);
    assert_eq!(
        (&second["period"], &second["used"], &second["source"]),
        (&"第4节".into(), &"unknown".into(), &"auto".into()),
        "{second:#}"
    );
    assert!(60 - number(&second, "known_s") >= 20 && number(&second, "powered_s") > 0, "{second:#}");
    assert_eq!(arrived(&school).len(), 3, "each row came once");

    // The page and the command line show both, the automatic row as it was.
    let (shown, _) = school.agent.lectern(&["usage", "--date", date]).unwrap();
    let rows = shown["rows"].as_array().unwrap();
    assert_eq!(
        (&rows[0]["used"], &rows[0]["said"]["used"], &rows[0]["open"]),
        (&"used".into(), &"not".into(), &true.into()),
        "{shown:#}"
    );
    assert!(shown["why"].as_str().is_some_and(|why| why.contains("no helper")), "{shown:#}");
    // What nobody knows cannot be confirmed, only corrected; and a row needs a name beside it.
    let confirmed = school.agent.lectern(&["usage", "--date", date, "--period", "第4节", "--by", "张老师"]);
    assert!(confirmed.unwrap_err().to_string().contains("not known whether"));
}

/// A newest measurement of the room, as the hub has it.
fn newest(school: &School, name: &str) -> Option<f64> {
    let rows = school.hub.rows().unwrap();
    let sql = "SELECT vals FROM sample WHERE device = ? AND grp = 'agent' ORDER BY ts DESC LIMIT 1";
    let text: String = rows.query_row(sql, [DEVICE], |row| row.get(0)).ok()?;
    serde_json::from_str::<Value>(&text).unwrap()[name].as_f64()
}

/// A room in which the last half minute's input counts, and whose agent is asked for what it tells.
fn quick(folder: Folder) -> School {
    let mut room = Room::card();
    room.usage = "input_counts_s = 30\n".into();
    School::start_in(folder, &room).unwrap()
}

fn tells(school: &School, active: f64) {
    let found = eventually(PATIENCE, "what the room tells", || {
        (newest(school, "active_count") == Some(active)).then_some(())
    });
    found.unwrap_or_else(|e| panic!("{active}: {e}\n{}", school.agent.process.tail_of_log()));
}

/// As GNOME's compositor says it on the session's bus; it does not answer while it is busy.
#[derive(Clone)]
struct Idle(Arc<(AtomicU64, AtomicBool)>);

#[zbus::interface(name = "org.gnome.Mutter.IdleMonitor")]
impl Idle {
    fn get_idletime(&self) -> u64 {
        let (idle_ms, busy) = &*self.0;
        while busy.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        idle_ms.load(Ordering::Relaxed)
    }
}

/// And of its screens: 0 on, 3 off, -1 where it does not know.
#[derive(Clone)]
struct Screens(Arc<AtomicI32>);

#[zbus::interface(name = "org.gnome.Mutter.DisplayConfig")]
impl Screens {
    #[zbus(property)]
    fn power_save_mode(&self) -> i32 {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gnome_desktop_tells_it_on_its_bus_and_is_not_given_up_while_it_is_busy() {
    let folder = Folder::new().unwrap();
    let socket = folder.join("session.bus");
    let address = format!("unix:path={}", socket.display());
    let mut bus = Command::new("dbus-daemon");
    bus.args(["--session", "--nofork", "--nopidfile", "--address", &address]);
    let _bus = Process::start(&folder, "bus", bus).unwrap();
    eventually(PATIENCE, "the bus", || socket.exists().then_some(())).unwrap();
    let (idle, screens) = (Idle(Arc::default()), Screens(Arc::default()));
    let (idle_ms, busy) = &*idle.0;
    idle_ms.store(60_000, Ordering::Relaxed);
    let service = zbus::connection::Builder::address(address.as_str());
    let service = service.name("org.gnome.Mutter.IdleMonitor").name("org.gnome.Mutter.DisplayConfig");
    let service = service.serve_at("/org/gnome/Mutter/IdleMonitor/Core", idle.clone());
    let service = service.serve_at("/org/gnome/Mutter/DisplayConfig", screens.clone());
    let service = service.build().await.unwrap();

    // In the daemon's place, to hear what the helper says, word for word.
    let listener = UnixListener::bind(folder.join("daemon.sock")).unwrap();
    // A compositor that has neither protocol of Wayland is one that cannot be asked by it.
    let env = [("WAYLAND_DISPLAY", "nobody"), ("DBUS_SESSION_BUS_ADDRESS", &address)];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut session = helper(&folder, &folder.join("daemon.sock"), &env);
    let (mut line, _) = listener.accept().unwrap();
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    line.write_all(b"{\"v\":1,\"every_ms\":1000}\n").unwrap();
    let mut reports = BufReader::new(line).lines();
    let mut says = |wanted: Value| {
        let report = || serde_json::from_str::<Value>(&reports.next().unwrap().unwrap()).unwrap();
        assert!(std::iter::repeat_with(report).take(60).any(|report| report == wanted), "never {wanted}");
    };
    says(json!({ "idle_ms": 60_000, "display": true }));
    idle_ms.store(7, Ordering::Relaxed);
    screens.0.store(3, Ordering::Relaxed);
    says(json!({ "idle_ms": 7, "display": false }));
    screens.0.store(-1, Ordering::Relaxed);
    says(json!({ "idle_ms": 7 }));
    // Longer than an answer is waited for: nobody knows, and then it is known again.
    busy.store(true, Ordering::Relaxed);
    says(json!({}));
    busy.store(false, Ordering::Relaxed);
    says(json!({ "idle_ms": 7 }));
    session.must_run().unwrap();
    drop(service);
    assert!(session.wait(PATIENCE).unwrap().success(), "with the desktop it ends");
}

#[test]
fn a_wayland_desktop_tells_when_somebody_left_and_when_they_are_back() {
    if Command::new("sway").arg("--version").output().is_err() {
        lectern_tests::skipped("sway is not installed; `packaging/setup.sh wayland` does it");
        return;
    }
    let folder = Folder::new().unwrap();
    let school = quick(folder);

    // A compositor without a monitor. It does not run as root.
    let run = std::env::temp_dir().join(format!("lectern-sway-{}", std::process::id()));
    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("config"), "").unwrap();
    std::fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut sway = if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&run).unwrap()) == 0 {
        std::os::unix::fs::chown(&run, Some(65534), Some(65534)).unwrap();
        let mut sway = Command::new("setpriv");
        sway.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sway"]);
        sway
    } else {
        Command::new("sway")
    };
    sway.arg("-c").arg(run.join("config")).env("XDG_RUNTIME_DIR", &run).env("HOME", &run);
    sway.env_remove("WAYLAND_DISPLAY").env_remove("DISPLAY");
    sway.env("WLR_BACKENDS", "headless").env("WLR_LIBINPUT_NO_DEVICES", "1").env("WLR_RENDERER", "pixman");
    let sway = Process::start(&school.folder, "sway", sway).unwrap();
    let named = |start: &str, end: &str| {
        let names = std::fs::read_dir(&run).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(start) && name.ends_with(end)).min()
    };
    let started =
        eventually(PATIENCE, "the compositor", || named("wayland-", "").zip(named("sway-ipc.", ".sock")));
    let (display, door) = started.unwrap_or_else(|e| panic!("{e}\n{}", sway.tail_of_log()));

    let env =
        [("XDG_RUNTIME_DIR".to_owned(), run.display().to_string()), ("WAYLAND_DISPLAY".into(), display)];
    let mut session = helper_of(&school, &env);
    tells(&school, 0.0);
    session.must_run().unwrap();
    let mut hand = Command::new("swaymsg");
    hand.args(["seat", "seat0", "cursor", "move", "5", "5"]).env("SWAYSOCK", run.join(door));
    lectern_tests::process::output(hand).unwrap();
    tells(&school, 1.0);
    drop((session, sway));
    std::fs::remove_dir_all(&run).unwrap();
}

/// GNOME's own compositor has none of the protocols by which others say that nobody is there.
#[test]
fn gnomes_own_compositor_tells_when_somebody_left_and_when_they_are_back() {
    if let Some(missing) = Wayland::missing() {
        lectern_tests::skipped(&format!("{missing} is not installed; `packaging/setup.sh wayland` does it"));
        return;
    }
    let school = quick(Folder::new().unwrap());
    let mut desktop = Wayland::start(&school.folder).unwrap();
    let mut session = helper_of(&school, &desktop.env());
    tells(&school, 0.0);
    session.must_run().unwrap();
    desktop.touch().unwrap();
    tells(&school, 1.0);
    desktop.compositor().kill();
    assert!(session.wait(PATIENCE).unwrap().success(), "with the desktop it ends");
}
