//! A room that is measured: a machine made of files, a projector, services on a bus of its own; what the hub gets of it,
//! what becomes an alarm, what doctor shows, and what a bundle must not hold.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lectern_tests::process::output;
use lectern_tests::projector::{PASSWORD, Projector};
use lectern_tests::school::DEVICE;
use lectern_tests::{Agent, Folder, Hub, Process, Room, School, eventually};
use serde_json::Value;
use zbus::{ObjectPath, OwnedVariant, Variant};

const PATIENCE: Duration = Duration::from_secs(120);

/// A machine made of files.
struct Machine(PathBuf);

impl Machine {
    fn new(folder: &Folder) -> Self {
        let machine = Self(folder.make("machine").unwrap());
        for (path, text) in [
            ("proc/stat", "cpu  1000 0 500 8000 400 0 100 0 0 0\n"),
            ("proc/loadavg", "0.52 0.58 0.59 1/597 12345\n"),
            ("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\n"),
            ("proc/uptime", "18322.57 70000.00\n"),
            ("sys/class/hwmon/hwmon0/name", "coretemp\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "61000\n"),
            ("sys/class/drm/card0-HDMI-A-1/status", "connected\n"),
        ] {
            machine.write(path, text);
        }
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn plug_in(&self, node: &str, name: &str) {
        for (file, text) in [
            ("index", "0"),
            ("name", name),
            ("idVendor", "1d6b"),
            ("idProduct", "0102"),
            ("device/uevent", ""),
        ] {
            self.write(&format!("sys/class/video4linux/{node}/{file}"), text);
        }
    }
}

/// A room whose agent asks this projector.
fn room(projector: &Projector, folder: &Folder) -> Room {
    let secret = folder.join("projector.password");
    std::fs::write(&secret, PASSWORD).unwrap();
    let mut room = Room::card();
    room.sources += &format!(
        "[projector]\nhost = \"127.0.0.1\"\nport = {}\npassword_file = {secret:?}\ninterval_s = 10\n",
        projector.port
    );
    room
}

fn start(folder: Folder, machine: &Machine, room: &Room) -> School {
    let mut school = School::start_in(folder, room).unwrap();
    let text = std::fs::read_to_string(&school.agent.config).unwrap();
    let own = format!("[sense]\nhost = {:?}\n", machine.0);
    std::fs::write(&school.agent.config, text.replace("[sense]\n", &own)).unwrap();
    school.agent.process.stop();
    // What was learnt of the machine that the tests run on is forgotten.
    std::fs::remove_file(school.agent.data.join("capture-devices.txt")).ok();
    school.agent.restart(&school.folder).unwrap();
    school
}

/// The newest value, as the hub has it.
fn newest(hub: &Hub, group: &str, name: &str) -> Option<f64> {
    let rows = hub.rows().unwrap();
    let sql = "SELECT vals FROM sample WHERE device = ? AND grp = ? ORDER BY ts DESC LIMIT 1";
    let text: String = rows.query_row(sql, [DEVICE, group], |row| row.get(0)).ok()?;
    serde_json::from_str::<HashMap<String, f64>>(&text).unwrap().get(name).copied()
}

fn arrives(school: &School, group: &str, name: &str, want: f64) {
    let found = eventually(PATIENCE, name, || (newest(&school.hub, group, name) == Some(want)).then_some(()));
    assert!(
        found.is_ok(),
        "{name} is {:?}, not {want}\n{}",
        newest(&school.hub, group, name),
        school.agent.process.tail_of_log()
    );
}

/// The lines of doctor by name.
fn doctor(agent: &Agent) -> HashMap<String, Value> {
    let (report, _) = agent.lectern(&["doctor"]).unwrap();
    let rows = report["findings"].as_array().unwrap().iter();
    rows.map(|row| (row["what"].as_str().unwrap().to_owned(), row.clone())).collect()
}

#[test]
fn what_a_room_has_is_told_and_what_is_wrong_with_it_becomes_an_alarm() {
    let folder = Folder::new().unwrap();
    let (machine, projector) = (Machine::new(&folder), Projector::start().unwrap());
    let room = room(&projector, &folder);
    let school = start(folder, &machine, &room);
    arrives(&school, "sys", "temperature_celsius", 61.0);
    arrives(&school, "sys", "memory_used_pct", 25.0);
    arrives(&school, "av", "projector_lamp_s", 2381.0 * 3600.0);
    arrives(&school, "av", "projector_power_code", 1.0);
    arrives(&school, "av", "display_count", 1.0);
    arrives(&school, "av", "unknown_capture_count", 0.0);
    // Not in the first sample: nothing was acknowledged before it.
    eventually(PATIENCE, "a round trip", || {
        newest(&school.hub, "net", "hub_rtt_ms").filter(|ms| *ms < 60_000.0)
    })
    .unwrap();

    // A camera nobody registered, and a projector that takes the connection and says nothing more.
    projector.now(|says| says.dead = true);
    machine.plug_in("video7", "Tiny Cam");
    arrives(&school, "av", "unknown_capture_count", 1.0);
    let alarm = |wanted: &str| {
        let (report, _) = school.agent.lectern(&["doctor"]).unwrap();
        let rows = report["findings"].as_array().unwrap().iter();
        rows.filter(|row| row["what"] == "alarm").any(|row| row["detail"].as_str().unwrap().contains(wanted))
    };
    let unknown = "非登记采集设备：Tiny Cam";
    eventually(PATIENCE, "the alarm", || alarm(unknown).then_some(())).unwrap();
    let found = eventually(PATIENCE, "doctor's words", || {
        let rows = doctor(&school.agent);
        let dead = rows["projector"]["detail"].as_str()?.contains("does not answer");
        dead.then_some(rows)
    });
    let rows = found.unwrap();
    assert_eq!(rows["projector"]["known"], false);
    assert_eq!(rows["temperature"]["detail"], "61 °C", "the others go on: {rows:#?}");
    assert!(rows["wi-fi"]["detail"].as_str().unwrap().contains("/proc/net/wireless"), "{rows:#?}");

    let (said, code) = school.agent.lectern(&["doctor", "--register"]).unwrap();
    assert!(code == 0 && said["registered"][0] == "usb:1d6b:0102", "{said}");
    projector.now(|says| (says.dead, says.lamp_h) = (false, 2382));
    arrives(&school, "av", "unknown_capture_count", 0.0);
    arrives(&school, "av", "projector_lamp_s", 2382.0 * 3600.0);
    eventually(PATIENCE, "the alarm is over", || (!alarm(unknown)).then_some(())).unwrap();
}

/// As UDisks2 says it of a disk that is failing.
struct Disks;

#[zbus::interface(name = "org.freedesktop.DBus.ObjectManager")]
impl Disks {
    fn get_managed_objects(
        &self,
    ) -> HashMap<ObjectPath<'static>, HashMap<String, HashMap<String, OwnedVariant>>> {
        let ata: HashMap<String, OwnedVariant> = [
            ("SmartEnabled".to_owned(), true.into()),
            ("SmartUpdated".to_owned(), 1_790_000_000_u64.into()),
            ("SmartFailing".to_owned(), true.into()),
            ("SmartPowerOnSeconds".to_owned(), 36_000_000_u64.into()),
            ("SmartNumBadSectors".to_owned(), 17_i64.into()),
        ]
        .into();
        let model = Variant::from("ST500DM002").try_to_owned().unwrap();
        let drive = HashMap::from([("Model".to_owned(), model)]);
        let path = ObjectPath::try_from("/org/freedesktop/UDisks2/drives/ST500DM002").unwrap();
        let interfaces = HashMap::from([
            ("org.freedesktop.UDisks2.Drive".to_owned(), drive),
            ("org.freedesktop.UDisks2.Drive.Ata".to_owned(), ata),
        ]);
        HashMap::from([(path, interfaces)])
    }
}

type Unit =
    (String, String, String, String, String, String, ObjectPath<'static>, u32, String, ObjectPath<'static>);

/// As systemd says it of a unit that has failed.
struct Systemd;

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn list_units_filtered(&self, states: Vec<String>) -> Vec<Unit> {
        assert!(states.into_iter().eq(["failed"]));
        let nowhere = || ObjectPath::try_from("/").unwrap();
        let text = |text: &str| text.to_owned();
        let unit = text("cups.service");
        vec![(
            unit,
            text("CUPS"),
            text("loaded"),
            text("failed"),
            text("failed"),
            text(""),
            nowhere(),
            0,
            text(""),
            nowhere(),
        )]
    }
}

/// As logind says it of a teacher's desktop, the login screen and a terminal.
struct Logins;

type Login = (String, u32, String, String, ObjectPath<'static>);

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Logins {
    fn list_sessions(&self) -> Vec<Login> {
        let login = |id: &str, uid, user: &str| {
            let path = ObjectPath::try_from(format!("/org/freedesktop/login1/session/{id}")).unwrap();
            (id.to_owned(), uid, user.to_owned(), "seat0".to_owned(), path)
        };
        vec![login("c1", 110, "lightdm"), login("_32", 1000, "teacher"), login("_33", 1000, "teacher")]
    }
}

struct Login1Session {
    kind: &'static str,
    class: &'static str,
}

#[zbus::interface(name = "org.freedesktop.login1.Session")]
impl Login1Session {
    #[zbus(property)]
    fn user(&self) -> (u32, ObjectPath<'static>) {
        (1000, ObjectPath::try_from("/org/freedesktop/login1/user/_1000").unwrap())
    }

    #[zbus(property, name = "Type")]
    fn kind(&self) -> String {
        self.kind.into()
    }

    #[zbus(property)]
    fn class(&self) -> String {
        self.class.into()
    }

    #[zbus(property)]
    fn active(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn idle_since_hint(&self) -> u64 {
        0
    }
}

async fn serve<I: zbus::object_server::Interface>(
    bus: &str,
    name: &'static str,
    path: &'static str,
    service: I,
) -> zbus::Connection {
    let builder = zbus::connection::Builder::address(bus).name(name);
    builder.serve_at(path, service).build().await.unwrap()
}

#[tokio::test]
async fn services_that_are_no_code_of_ours_answer_what_we_ask() {
    let folder = Folder::new().unwrap();
    let machine = Machine::new(&folder);
    std::fs::create_dir_all(machine.0.join("run/dbus")).unwrap();
    let socket = machine.0.join("run/dbus/system_bus_socket");
    let mut bus = Command::new("dbus-daemon");
    bus.args(["--session", "--nofork", "--nopidfile"]);
    bus.arg(format!("--address=unix:path={}", socket.display()));
    let _bus = Process::start(&folder, "bus", bus).unwrap();
    eventually(PATIENCE, "the bus", || socket.exists().then_some(())).unwrap();
    let address = format!("unix:path={}", socket.display());
    let _disks = serve(&address, "org.freedesktop.UDisks2", "/org/freedesktop/UDisks2", Disks).await;
    let _systemd = serve(&address, "org.freedesktop.systemd1", "/org/freedesktop/systemd1", Systemd).await;
    let logins = serve(&address, "org.freedesktop.login1", "/org/freedesktop/login1", Logins).await;
    for (id, kind, class) in [("c1", "x11", "greeter"), ("_32", "x11", "user"), ("_33", "tty", "user")] {
        let path = format!("/org/freedesktop/login1/session/{id}");
        logins.object_server().at(path, Login1Session { kind, class }).await.unwrap();
    }

    // No daemon: doctor looks for itself.
    let config = folder.join("agent.toml");
    let text = format!(
        "[device]\nid = \"{DEVICE}\"\nschool = \"3401000001\"\nroom = \"301\"\ndata_dir = {:?}\n\
         [sense]\nhost = {:?}\n[recording]\nrecorder = \"/nowhere\"\n[[source]]\nname = \"card\"\nkind = \"test\"\n",
        folder.make("data").unwrap(),
        machine.0
    );
    std::fs::write(&config, text).unwrap();
    let programs = lectern_tests::programs::Programs::find().unwrap();
    let asked = tokio::task::spawn_blocking(move || {
        Command::new(programs.lectern)
            .arg("--config")
            .arg(config)
            .args(["--json", "doctor"])
            .output()
            .unwrap()
    });
    let report: Value = serde_json::from_slice(&asked.await.unwrap().stdout).unwrap();
    let row = |what: &str| {
        let rows = report["findings"].as_array().unwrap();
        rows.iter()
            .find(|row| row["what"] == what)
            .unwrap_or_else(|| panic!("no {what} in {report:#}"))
            .clone()
    };
    let disk = row("disk health");
    let said = disk["detail"].as_str().unwrap();
    assert_eq!(disk["ok"], false);
    assert!(said.starts_with("failing 1 (ST500DM002), on for 10000.0 h, bad sectors 17"), "{said}");
    let units = row("units");
    assert!(units["detail"].as_str().unwrap().contains("failed 1 (cups.service)"), "{units}");
    assert_eq!(units["ok"], false);
    let sessions = row("sessions");
    assert_eq!(
        sessions["detail"], "1",
        "the teacher's desktop, not the login screen or the terminal: {sessions}"
    );
}

/// All files of a bundle, as tar unpacks them.
fn unpacked(bundle: &Path, into: &Path) -> HashMap<String, String> {
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(bundle).arg("-C").arg(into).arg("--strip-components=1");
    output(tar).unwrap();
    let files = std::fs::read_dir(into).unwrap().flatten();
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    files.map(|e| (e.file_name().to_string_lossy().into_owned(), read(e.path()))).collect()
}

#[test]
fn a_bundle_helps_and_holds_neither_a_secret_nor_a_name() {
    let folder = Folder::new().unwrap();
    let (machine, projector) = (Machine::new(&folder), Projector::start().unwrap());
    let mut room = room(&projector, &folder);
    let camera = "camera-secret-9";
    room.recording += "layout = \"screen+camera\"\n";
    room.sources += &format!(
        "[[source]]\nname = \"camera\"\nkind = \"network_camera\"\nurl = \"rtsp://admin:{camera}@127.0.0.1:9/live\"\n\
         # asked 王校长 on Monday\n"
    );
    let school = start(folder, &machine, &room);
    let said = ["record", "start", "--teacher", "欧阳小明", "--teacher-id", "T20260907", "--topic", "背影"];
    school.agent.lectern(&said).unwrap();
    school.agent.wait_for_media(1500, PATIENCE).unwrap();
    school.agent.press("stop").unwrap();
    // On a machine whose disk is nearly full the bytes go as soon as the hub has them.
    let status = school.agent.wait_for(&["stored", "reclaimed"], PATIENCE).unwrap();
    arrives(&school, "sys", "temperature_celsius", 61.0);
    let bundle = school.folder.join("bundle.tar.gz");

    let (answer, code) =
        school.agent.lectern(&["doctor", "--bundle", &bundle.display().to_string()]).unwrap();
    assert_eq!(code, 0, "{answer}");
    let files = unpacked(&bundle, &school.folder.make("unpacked").unwrap());
    for (file, wanted) in [
        ("doctor.txt", "temperature"),
        ("health.json", "temperature_celsius"),
        ("settings.toml", "rtsp://127.0.0.1:9/live"),
        ("lessons.json", status["lesson"]["id"].as_str().unwrap()),
        ("versions.txt", "lectern "),
        ("journal.txt", "\n"),
    ] {
        assert!(files[file].contains(wanted), "{file}: {}", files[file]);
    }
    let secret = |path: PathBuf| std::fs::read_to_string(path).unwrap().trim().to_owned();
    let planted = [
        camera.to_owned(),
        PASSWORD.to_owned(),
        secret(school.folder.join("device.password")),
        secret(school.agent.data.join("device.key")),
        "欧阳小明".into(),
        "T20260907".into(),
        "背影".into(),
        "王校长".into(),
    ];
    for (file, text) in &files {
        for word in &planted {
            assert!(!text.contains(word.as_str()), "{word} is in {file}: {text}");
        }
    }
}
