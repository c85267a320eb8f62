//! Collectors against machines made of files: what a kernel writes, in the shapes its documentation gives them.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::model::reading::Health;

/// A classroom PC: four cores, a SATA disk, a graphics card with a projector and an empty socket, a USB camera, an onboard
/// sound card and a Wi-Fi card. The texts have the form that Debian 12's kernel 6.1 gives them.
const PC: &[(&str, &str)] = &[
    ("proc/stat", "cpu  1000 0 500 8000 400 0 100 0 0 0\ncpu0 250 0 125 2000 100 0 25 0 0 0\nctxt 1\n"),
    ("proc/loadavg", "0.52 0.58 0.59 1/597 12345\n"),
    (
        "proc/meminfo",
        "MemTotal:        8000000 kB\nMemFree:          500000 kB\nMemAvailable:    6000000 kB\nSwapTotal:       1000000 kB\nSwapFree:         900000 kB\n",
    ),
    ("proc/vmstat", "nr_free_pages 1\noom_kill 2\n"),
    ("proc/uptime", "18322.57 70000.00\n"),
    (
        "proc/diskstats",
        "   8       0 sda 1000 10 20000 500 2000 20 40000 900 0 700 1400\n   8       1 sda1 900 10 19000 400 1900 20 39000 800 0 600 1200\n   7       0 loop0 5 0 50 1 0 0 0 0 0 1 1\n",
    ),
    ("sys/block/sda/device/vendor", "ATA\n"),
    ("sys/block/loop0/size", "0\n"),
    ("sys/class/hwmon/hwmon0/name", "coretemp\n"),
    ("sys/class/hwmon/hwmon0/temp1_input", "61000\n"),
    ("sys/class/hwmon/hwmon0/temp2_input", "58000\n"),
    ("sys/class/hwmon/hwmon1/name", "drivetemp\n"),
    ("sys/class/hwmon/hwmon1/temp1_input", "38000\n"),
    ("sys/class/hwmon/hwmon2/name", "nct6775\n"),
    ("sys/class/hwmon/hwmon2/fan1_input", "1180\n"),
    ("sys/class/hwmon/hwmon2/fan2_input", "0\n"),
    ("sys/class/hwmon/hwmon2/temp7_input", "-128000\n"),
    (
        "proc/net/dev",
        "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:    9999      10    0    0    0     0          0         0     9999      10    0    0    0     0       0          0\nenp3s0: 1000000    1000    3    0    0     0          0         0   500000     800    1    0    0     0       0          0\n",
    ),
    (
        "proc/net/route",
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\nwlp2s0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\nenp3s0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
    ),
    ("proc/net/snmp", "Tcp: RtoAlgorithm OutSegs RetransSegs\nTcp: 1 1000 10\n"),
    (
        "proc/net/wireless",
        "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\nwlp2s0: 0000   54.  -56.  -256        0      0      0      0      3        0\n",
    ),
    ("sys/class/net/enp3s0/carrier", "1\n"),
    ("sys/class/net/enp3s0/speed", "1000\n"),
    ("sys/class/drm/card0-HDMI-A-1/status", "connected\n"),
    ("sys/class/drm/card0-HDMI-A-1/enabled", "enabled\n"),
    ("sys/class/drm/card0-HDMI-A-1/dpms", "Off\n"),
    ("sys/class/drm/card0-DP-1/status", "disconnected\n"),
    ("sys/class/drm/card0/dev", "226:0\n"),
    ("sys/class/video4linux/video0/index", "0\n"),
    ("sys/class/video4linux/video0/name", "HD Webcam C270\n"),
    ("sys/class/video4linux/video0/idVendor", "046d\n"),
    ("sys/class/video4linux/video0/idProduct", "0825\n"),
    ("sys/class/video4linux/video0/device/uevent", "DRIVER=uvcvideo\n"),
    ("sys/class/video4linux/video1/index", "1\n"),
    ("sys/class/video4linux/video1/name", "HD Webcam C270\n"),
    (
        "proc/asound/pcm",
        "00-00: ALC257 Analog : ALC257 Analog : playback 1 : capture 1\n00-03: HDMI 0 : HDMI 0 : playback 1\n",
    ),
    ("proc/asound/card0/id", "PCH\n"),
];

struct Machine {
    folder: tempfile::TempDir,
    collectors: Vec<Box<dyn Collector>>,
    now: Duration,
}

impl Machine {
    fn of(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let scope = Scope {
            host: Host::at(folder.path()),
            data_dir: folder.path().to_owned(),
            projector: None,
            line: Arc::default(),
        };
        let machine = Self { collectors: all(&scope), folder, now: Duration::from_secs(100) };
        files.iter().for_each(|(path, text)| machine.write(path, text));
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
        std::fs::write(path, text).expect("writes");
    }

    /// Ten seconds later.
    fn read(&mut self) -> Health {
        self.now += Duration::from_secs(10);
        let host = Host::at(self.folder.path());
        let mut health = Health::default();
        for collector in &mut self.collectors {
            health.add(collector.group(), &collector.collect(&host, self.now));
        }
        health
    }
}

#[test]
fn a_classroom_pc_is_read_as_a_person_would_read_its_files() {
    let mut pc = Machine::of(PC);
    let first = pc.read();
    assert_eq!(first.value("cpu_pct"), None, "a rate needs two readings");
    pc.write("proc/stat", "cpu  1100 0 600 8500 600 0 200 0 0 0\n");
    pc.write("proc/diskstats", "   8       0 sda 1000 10 22500 500 2000 20 65000 900 0 3200 1400\n");
    pc.write("proc/net/dev", "\n\nenp3s0: 2250000 1000 3 0 0 0 0 0 1750000 800 1 0 0 0 0 0\n");
    pc.write("proc/net/snmp", "Tcp: RtoAlgorithm OutSegs RetransSegs\nTcp: 1 2000 110\n");
    let health = pc.read();
    for (name, value) in [
        // 1000 ticks went by: 500 idle, 200 waiting for the disk, 300 at work.
        ("cpu_pct", 30.0),
        ("cpu_wait_pct", 20.0),
        ("load1_load", 0.52),
        ("memory_used_pct", 25.0),
        ("memory_used_bytes", 2_048_000_000.0),
        ("swap_used_bytes", 102_400_000.0),
        ("oom_kills_count", 2.0),
        ("uptime_s", 18323.0),
        // 2500 and 25,000 sectors of 512 bytes in ten seconds, busy for 2.5 of them.
        ("disk_read_bps", 1_020_000.0),
        ("disk_write_bps", 10_200_000.0),
        ("disk_busy_pct", 25.0),
        ("temperature_celsius", 61.0),
        ("disk_temperature_celsius", 38.0),
        ("fan_rpm", 1180.0),
        ("net_rx_bps", 1_000_000.0),
        ("net_tx_bps", 1_000_000.0),
        ("net_errors_count", 4.0),
        ("net_up_count", 1.0),
        ("net_link_bps", 1e9),
        ("net_resent_pct", 10.0),
        ("wifi_signal_dbm", -56.0),
        ("display_count", 1.0),
        ("display_on_count", 0.0),
        ("camera_count", 1.0),
        ("microphone_count", 1.0),
        ("unknown_capture_count", 0.0),
    ] {
        assert_eq!(health.value(name), Some(value), "{name}: {health:#?}");
    }
    assert_eq!(health.words["net_interface"], "enp3s0", "the default route with the lowest metric");
    assert_eq!(health.words["displays"], "HDMI-A-1");
    for values in health.groups.values() {
        let sample = lectern_wire::telemetry::Sample { ts: 0, values: values.clone() };
        assert!(lectern_wire::telemetry::well_formed(&sample), "{values:?}");
    }
}

#[test]
fn what_a_machine_does_not_have_is_missing_with_a_reason_and_never_zero() {
    let mut bare = Machine::of(&[]);
    bare.read();
    let health = bare.read();
    for name in [
        "cpu_pct",
        "load1_load",
        "memory_used_pct",
        "disk_busy_pct",
        "temperature_celsius",
        "fan_rpm",
        "net_rx_bps",
        "net_link_bps",
        "wifi_signal_dbm",
        "display_count",
        "uptime_s",
        "smart_failing_count",
        "units_failed_count",
        "clock_keeper",
        "clock_hub_ms",
    ] {
        assert!(health.missing.get(name).is_some_and(|why| why.len() > 10), "{name}: {health:#?}");
        assert_eq!(health.value(name), None, "{name}");
    }
}

#[test]
fn whatever_stands_in_the_files_nothing_breaks() {
    for rubbish in
        ["", "\n", "cpu ", "x y z\n1 2 3\n", "\u{0}\u{0}", "-1", "99999999999999999999999", ": : :"]
    {
        let files: Vec<_> = PC.iter().map(|(path, _)| (*path, rubbish)).collect();
        let mut pc = Machine::of(&files);
        pc.read();
        let health = pc.read();
        assert!(health.groups.values().flat_map(|v| v.values()).all(|n| n.is_finite()), "{health:#?}");
    }
}

#[test]
fn a_camera_that_comes_later_is_unknown_until_it_is_registered() {
    let mut pc = Machine::of(PC);
    assert_eq!(
        pc.read().value("unknown_capture_count"),
        Some(0.0),
        "what is there first belongs to the room"
    );
    for (file, text) in [("index", "0"), ("name", "Tiny Cam"), ("idVendor", "1d6b"), ("idProduct", "0001")] {
        pc.write(&format!("sys/class/video4linux/video2/{file}"), text);
    }
    pc.write("sys/class/video4linux/video2/device/uevent", "");
    let health = pc.read();
    assert_eq!(health.value("unknown_capture_count"), Some(1.0));
    assert_eq!(health.words["unknown_capture"], "Tiny Cam (usb:1d6b:0001)");
    let register = register(pc.folder.path());
    write_register(&register, &devices(&Host::at(pc.folder.path()))).expect("writes");
    assert_eq!(pc.read().value("unknown_capture_count"), Some(0.0));
}

#[test]
fn this_machine_can_be_read() {
    let folder = tempfile::tempdir().expect("folder");
    let scope = Scope {
        host: Host::at(Path::new("/")),
        data_dir: folder.path().to_owned(),
        projector: None,
        line: Arc::default(),
    };
    let mut health = Health::default();
    for collector in &mut all(&scope) {
        health.add(collector.group(), &collector.collect(&scope.host, lectern_base::clock::mono()));
    }
    assert!(health.value("memory_used_bytes").is_some_and(|n| n > 0.0), "{health:#?}");
    assert!(health.value("uptime_s").is_some_and(|n| n > 0.0), "{health:#?}");
}
