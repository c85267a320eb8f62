//! The settings: read once, checked whole, every fault reported at once by its field path.
//!
//! `config/agent.toml` in the repository is the reference; a test holds it to the defaults here.

mod commands;
pub mod destination;
pub mod enrolled;
mod folder;
mod hub;
mod key;
mod profiles;
mod reader;
mod room;
mod schemes;
mod source;
mod telling;
mod timetable;
mod usage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lectern_wire::capture::{
    AudioSettings, CaptureSettings, Encoder, Layout, Source, SourceKind, VideoSettings,
};
use lectern_wire::id::{DeviceId, SchoolId};
use lectern_wire::live::{Live, SCHEMES};

use crate::model::alarm::Limits;
use crate::model::profile::Profile;
use crate::model::projector::Projector;
use crate::model::schedule::{Schedule, Waits};
use crate::model::scheme::Scheme;
use crate::model::telling::Discovery;
use crate::model::timetable::Timetable;
pub use commands::Commands;
pub use hub::Hub;
pub use key::Key;
use reader::{Faults, Section};
pub use telling::ThingsBoard;
pub use usage::Usage;

/// Where state and lessons are kept when nobody says otherwise.
const DATA_DIR: &str = "/var/lib/lectern";

/// All settings of the daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[device]`
    pub device: Device,
    /// `[hub]`; absent when recordings stay on this machine.
    pub hub: Option<Hub>,
    /// `[thingsboard]`; absent when health and events go to the hub.
    pub thingsboard: Option<ThingsBoard>,
    /// `[home_assistant]`; absent when it is told nothing.
    pub home_assistant: Option<Discovery>,
    /// `[upload]`
    pub upload: Upload,
    /// `[[destination]]`: where lessons go beside the hub.
    pub destinations: Vec<destination::Settings>,
    /// `[page]`
    pub page: Page,
    /// `[recording]`
    pub recording: Recording,
    /// `[live]`; absent when lessons cannot be sent live.
    pub live: Option<Live>,
    /// `[key]`
    pub key: Key,
    /// `[school_day]`
    pub school_day: SchoolDay,
    /// `[sense]`
    pub sense: Sense,
    /// `[projector]`; absent when there is none that can be asked.
    pub projector: Option<Projector>,
    /// `[alarm]`
    pub alarm: Limits,
    /// `[outbox]`
    pub outbox: Outbox,
    /// `[commands]`
    pub commands: Commands,
    /// `[usage]`
    pub usage: Usage,
    /// How this machine enrolled, when it did.
    pub enrolled: Option<enrolled::Enrolled>,
}

/// Who and where this device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id: MQTT client id, user name and topic level.
    pub id: DeviceId,
    /// Its school.
    pub school: SchoolId,
    /// The school as people call it, for the names of clips; its id when it is not set.
    pub school_name: String,
    /// The room as people call it.
    pub room: String,
    /// Where state and lessons are kept.
    pub data_dir: PathBuf,
    /// Whether that volume keeps what is written to it although it looks otherwise.
    pub trust_volume: bool,
}

impl Device {
    /// The school's name or, where it is not set, its id.
    #[must_use]
    pub fn school_text(&self) -> &str {
        if self.school_name.is_empty() { self.school.as_str() } else { &self.school_name }
    }
}

/// How lessons are taken to the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// What may go when.
    pub schedule: Schedule,
    /// Whether uploads take the whole line, although others on it wait longer.
    pub whole_line: bool,
    /// The proxy, `http://host:port`.
    pub proxy: Option<url::Url>,
    /// File with `user:password` for it.
    pub proxy_password_file: Option<PathBuf>,
}

/// The local page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Loopback address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether Prometheus finds `/metrics` there.
    pub metrics: bool,
}

/// What a lesson is recorded with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The recorder program.
    pub recorder: PathBuf,
    /// Whether a recorder is kept ready before the press.
    pub armed: bool,
    /// Seconds before the press that are kept in memory; 0 keeps nothing.
    pub ring_s: u32,
    /// Longest take, minutes.
    pub max_minutes: u32,
    /// Minutes of lesson that must fit on the disk before one may start.
    pub reserve_minutes: u32,
    /// Days the bytes of a lesson stay here after the hub's receipt.
    pub keep_stored_days: u32,
    /// Space that is kept free by removing stored lessons earlier, MiB.
    pub keep_free_mib: u32,
    /// Whether every picture is decoded back, or the key frames.
    pub full_check: bool,
    /// Folder of the video profiles a finished lesson is held against.
    pub profiles: PathBuf,
    /// Folder of the certification schemes a lesson can be put forward for.
    pub schemes: PathBuf,
    /// Sources, layout, picture and sound.
    pub capture: CaptureSettings,
}

/// What the school day brings about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchoolDay {
    /// File of the timetable.
    pub timetable: PathBuf,
    /// Seconds after the bell at which a recording ends by itself; 0 never.
    pub end_after_bell_s: u32,
    /// Minutes before the bell at which the sources are tried out; 0 never.
    pub preflight_before_bell_min: u32,
    /// Whether the teacher is told when there is speech and nothing records.
    pub speech_reminder: bool,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sense {
    /// Seconds between samples.
    pub interval_s: u32,
    /// Where the machine's `/proc`, `/sys` and `/run` stand.
    pub host: PathBuf,
}

/// What waits for MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    /// Most it may hold, MiB.
    pub max_mib: u32,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// All faults, a sentence each.
    pub fn load(path: &Path) -> Result<Self, Vec<String>> {
        let mut table = read_table(path)?;
        let enrolled = enrolled::add(&mut table)?;
        Self::check(table, enrolled)
    }

    /// Checks settings given as text.
    ///
    /// # Errors
    /// All faults, a sentence each.
    #[cfg(test)]
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        Self::check(table(text)?, None)
    }

    fn check(table: toml::Table, enrolled: Option<enrolled::Enrolled>) -> Result<Self, Vec<String>> {
        let faults = Faults::default();
        let mut root = Section::new(&faults, "", table);
        let device = device(&mut root);
        let hub = root.optional_section("hub").map(hub::hub);
        let thingsboard = root.optional_section("thingsboard").and_then(telling::thingsboard);
        let home_assistant = root.optional_section("home_assistant").map(telling::home_assistant);
        let upload = root.section("upload", upload);
        let destinations = destination::all(&mut root, hub.is_some());
        let page = page(&mut root);
        let mut recording = recording(&mut root);
        let live = root.optional_section("live").and_then(live);
        keep_leave_in(&device.data_dir, &mut recording.capture.sources);
        let key = key::key(&mut root);
        let school_day = root.section("school_day", |s| SchoolDay {
            timetable: s.path("timetable", "/etc/lectern/timetable.toml"),
            end_after_bell_s: s.number("end_after_bell_s", 180, 0..=3600),
            preflight_before_bell_min: s.number("preflight_before_bell_min", 5, 0..=60),
            speech_reminder: s.choice_of_bool("speech_reminder"),
        });
        let sense = root.section("sense", |s| Sense {
            interval_s: s.number("interval_s", 30, 1..=3600),
            host: s.path("host", "/"),
        });
        let projector = root.optional_section("projector").map(room::projector);
        let alarm = root.section("alarm", room::limits);
        let outbox = root.section("outbox", |s| Outbox { max_mib: s.number("max_mib", 64, 1..=4096) });
        let commands = root.section("commands", commands::commands);
        let usage = usage::usage(&mut root);
        root.end();
        let config = Self {
            device,
            hub,
            thingsboard,
            home_assistant,
            upload,
            destinations,
            page,
            recording,
            live,
            key,
            school_day,
            sense,
            projector,
            alarm,
            outbox,
            commands,
            usage,
            enrolled,
        };
        faults.into_result(config)
    }

    /// The video profiles.
    ///
    /// # Errors
    /// All faults of their files, a sentence each.
    pub fn profiles(&self) -> Result<Vec<Profile>, Vec<String>> {
        folder::load(&self.recording.profiles, profiles::profile)
    }

    /// The certification schemes.
    ///
    /// # Errors
    /// All faults of their files, a sentence each.
    pub fn schemes(&self) -> Result<Vec<Scheme>, Vec<String>> {
        folder::load(&self.recording.schemes, schemes::scheme)
    }

    /// The timetable, if there is one.
    ///
    /// # Errors
    /// All its faults, a sentence each.
    pub fn timetable(&self) -> Result<Option<Timetable>, Vec<String>> {
        timetable::load(&self.school_day.timetable)
    }

    /// Bytes a minute of lesson takes at most.
    #[must_use]
    pub fn bytes_per_minute(&self) -> u64 {
        let capture = &self.recording.capture;
        u64::from(capture.video.max_kbps + capture.audio.kbps) * 1000 / 8 * 60
    }
}

fn table(text: &str) -> Result<toml::Table, Vec<String>> {
    text.parse()
        .map_err(|e: toml::de::Error| vec![not_toml(text, e.span().map_or(0, |at| at.start), e.message())])
}

fn read_table(path: &Path) -> Result<toml::Table, Vec<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| vec![format!("{} could not be read: {e}", path.display())])?;
    table(&text)
}

fn device(root: &mut Section<'_>) -> Device {
    root.section("device", |s| {
        let folder = s.path("data_dir", DATA_DIR);
        // A recorder's socket lies below it, and a socket's path has room for 107 bytes.
        if folder.as_os_str().len() > 70 {
            s.fault("data_dir", "is longer than 70 bytes; a socket below it would not fit");
        }
        Device {
            id: s
                .parsed("id", |text| DeviceId::new(text).map_err(|e| e.to_string()))
                .unwrap_or_else(placeholder),
            school: s
                .parsed("school", |text| SchoolId::new(text).map_err(|e| e.to_string()))
                .unwrap_or_else(placeholder),
            school_name: s.text("school_name", Some(""), 40),
            room: s.text("room", None, 40),
            data_dir: folder,
            trust_volume: s.choice_of_bool("trust_volume"),
        }
    })
}

/// Stands for an id that was refused; the fault keeps the settings from ever being used.
fn placeholder<T: TryFrom<String>>() -> T
where
    T::Error: std::fmt::Debug,
{
    #[expect(clippy::expect_used, reason = "a constant that is a valid id")]
    T::try_from("x".to_owned()).expect("x is a valid id")
}

fn live(mut s: Section<'_>) -> Option<Live> {
    // What is wrong is said without the address: a stream key stands in it.
    let url = s.parsed("url", |text| match url::Url::parse(text) {
        Ok(url) if url.host_str().is_some() && SCHEMES.iter().any(|(scheme, _)| *scheme == url.scheme()) => {
            Ok(text.to_owned())
        }
        _ => Err(format!(
            "must be an address with a host, beginning with {}://",
            SCHEMES.map(|s| s.0).join(":// or ")
        )),
    });
    s.end();
    url.map(|url| Live { url, on: false })
}

fn upload(s: &mut Section<'_>) -> Upload {
    let day_kbps = s.number("day_kbps", 0, 0..=10_000_000_u32);
    let night = s.text("night", Some("22:00-06:00"), 20);
    let night = night.parse().map_err(|what: String| s.fault("night", &what)).ok();
    #[expect(clippy::expect_used, reason = "a constant that is a valid span")]
    let night = night.unwrap_or_else(|| "22:00-06:00".parse().expect("a valid span"));
    let waits = [("nothing", Waits::Nothing), ("backlog", Waits::Backlog), ("all", Waits::All)];
    let waits = s.choice("waits_for_night", "nothing", &waits);
    let proxy = s.maybe_parsed("proxy", |text| match url::Url::parse(text) {
        Ok(url) if url.scheme() == "http" && url.host_str().is_some() && url.username().is_empty() => Ok(url),
        _ => Err(format!("{text:?} must be http:// with a host and a port, without a password")),
    });
    let proxy_password_file = s.maybe_parsed("proxy_password_file", |text| match PathBuf::from(text) {
        path if path.is_absolute() => Ok(path),
        _ => Err("must be an absolute path".to_owned()),
    });
    if proxy_password_file.is_some() && proxy.is_none() {
        s.fault("proxy_password_file", "stands without a proxy; set upload.proxy too");
    }
    Upload {
        schedule: Schedule { day_rate: (day_kbps > 0).then(|| u64::from(day_kbps) * 125), night, waits },
        whole_line: s.choice_of_bool("whole_line"),
        proxy,
        proxy_password_file,
    }
}

fn page(root: &mut Section<'_>) -> Page {
    root.section("page", |s| {
        let listen = s.text("listen", Some("127.0.0.1:8471"), 60);
        let fallback = SocketAddr::from(([127, 0, 0, 1], 8471));
        let listen = match listen.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => address,
            Ok(_) => {
                s.fault(
                    "listen",
                    "must be a loopback address such as 127.0.0.1:8471: the button is for this machine alone",
                );
                fallback
            }
            Err(_) => {
                s.fault(
                    "listen",
                    &format!("{listen:?} is not an address with a port, such as 127.0.0.1:8471"),
                );
                fallback
            }
        };
        Page { listen, metrics: s.choice_of_bool("metrics") }
    })
}

fn recording(root: &mut Section<'_>) -> Recording {
    let sources: Vec<Source> = root.sections("source").into_iter().filter_map(source::source).collect();
    let faults = root.faults();
    root.section("recording", |s| {
        let layouts = Layout::NAMES.map(|(layout, name)| (name, layout));
        let layout = s.choice("layout", "screen", &layouts);
        let size =
            s.choice("picture", "1920x1080", &[("1920x1080", (1920, 1080)), ("1280x720", (1280, 720))]);
        let encoders = Encoder::NAMES.map(|(encoder, name)| (name, Some(encoder)));
        let encoder = s.choice("encoder", "auto", &[&[("auto", None)], &encoders[..]].concat());
        let video = VideoSettings {
            width: size.0,
            height: size.1,
            fps: s.number("fps", 25, 5..=30),
            max_kbps: s.number("max_kbps", 4000, 200..=20_000),
            gop_s: 2,
            encoder,
        };
        let audio = AudioSettings { kbps: s.number("sound_kbps", 128, 64..=256) };
        let count = |is: fn(&SourceKind) -> bool| sources.iter().filter(|s| is(&s.kind)).count();
        // Only when every source could be read: a second sentence about the same mistake helps nobody.
        if faults.none_below("source") {
            if count(SourceKind::is_screen) > 1 {
                faults.add("source", "may hold only one of kind \"screen\" (or \"test\")");
            }
            if count(SourceKind::is_camera) > 2 {
                faults.add("source", "may hold at most two cameras");
            }
            if count(SourceKind::is_sound) > 4 {
                faults.add("source", "may hold at most four sources of sound");
            }
            let (screens, cameras) = layout.shows();
            if screens > count(SourceKind::is_screen) || cameras > count(SourceKind::is_camera) {
                let wants = match (screens, cameras) {
                    (1, 0) => "a screen",
                    (1, _) => "a screen and a camera",
                    (_, 1) => "a camera",
                    _ => "two cameras",
                };
                s.fault("layout", &format!("{:?} needs {wants} among the sources", layout.name()));
            }
            let mut names: Vec<_> = sources.iter().map(|s| s.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            if names.len() != sources.len() {
                faults.add("source", "names must differ from each other");
            }
        }
        let copy_camera = s.choice_of_bool("copy_camera");
        let network = count(|kind| matches!(kind, SourceKind::NetworkCamera { .. }));
        let pictures = count(SourceKind::is_screen) + count(SourceKind::is_camera);
        if copy_camera && (layout != Layout::Camera || (network, pictures) != (1, 1)) {
            s.fault("copy_camera", "needs layout \"camera\" and one network camera as the only picture");
        }
        Recording {
            recorder: s.path("recorder", "/usr/bin/lectern-recorder"),
            armed: s.choice_of_bool("armed"),
            ring_s: s.number("ring_s", 0, 0..=60),
            max_minutes: s.number("max_minutes", 180, 1..=1440),
            reserve_minutes: s.number("reserve_minutes", 10, 1..=1440),
            keep_stored_days: s.number("keep_stored_days", 7, 0..=3650),
            keep_free_mib: s.number("keep_free_mib", 4096, 0..=1_000_000),
            full_check: s.choice_of_bool("full_check"),
            profiles: s.path("profiles", "/etc/lectern/profiles"),
            schemes: s.path("schemes", "/etc/lectern/schemes"),
            capture: CaptureSettings { layout, sources: sources.clone(), video, audio, copy_camera },
        }
    })
}

/// The teacher's leave to see a Wayland screen outlives the lesson: it stands with the state.
fn keep_leave_in(data_dir: &Path, sources: &mut [Source]) {
    for source in sources {
        if let SourceKind::WaylandScreen { leave } = &mut source.kind {
            *leave = data_dir.join("wayland-screen").to_string_lossy().into_owned();
        }
    }
}

/// Where it is no TOML, without the line itself: that may hold a password, and the sentence goes to the journal.
fn not_toml(text: &str, at: usize, why: &str) -> String {
    let line = text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
    format!("not TOML in line {line}: {}", why.trim_end())
}

#[cfg(test)]
mod tests {
    use lectern_wire::capture::CameraFormat;

    use super::*;

    #[test]
    fn a_mistake_in_a_line_with_a_password_does_not_say_the_password() {
        let text = "[device]\nid = \"a\"\n[[source]]\nurl = \"rtsp://admin:s3cret@10.0.0.2/live\nname = 5";
        let faults = Config::parse(text).expect_err("a quote is missing");
        assert!(faults.len() == 1 && faults[0].starts_with("not TOML in line 4: "), "{faults:?}");
        assert!(!faults[0].contains("s3cret"), "{faults:?}");
    }

    /// The annotated file, and what enrolment brings.
    fn reference() -> String {
        include_str!("../../../../config/agent.toml").replace(
            "\n[device]\n",
            "\n[hub]\nurl = \"http://127.0.0.1:8470\"\nmqtt = \"mqtt://127.0.0.1:1883\"\n\
             [device]\nid = \"room-301\"\nschool = \"3401000001\"\nroom = \"301教室\"\n",
        )
    }

    #[test]
    fn the_annotated_file_is_valid_and_its_values_are_the_defaults() {
        let written = Config::parse(&reference()).expect("valid");
        // The same file without every key that has a default.
        let bare = "
            [device]\nid = \"room-301\"\nschool = \"3401000001\"\nroom = \"301教室\"
            [hub]\nurl = \"http://127.0.0.1:8470\"\nmqtt = \"mqtt://127.0.0.1:1883\"
            [[source]]\nname = \"screen\"\nkind = \"screen\"
            [[source]]\nname = \"microphone\"\nkind = \"microphone\"
        ";
        assert_eq!(Config::parse(bare).expect("valid"), written);
    }

    #[test]
    fn five_faults_are_reported_at_once_by_their_paths() {
        let text = "
            surprise = 1
            [device]\nid = \"Room 301\"\nschool = \"3401000001\"\nroom = \"301\"
            [page]\nlisten = \"0.0.0.0:8471\"
            [recording]\nfps = 500
            [[source]]\nname = \"screen\"\nkind = \"scren\"
        ";
        let faults = Config::parse(text).expect_err("faults");
        for path in ["surprise", "device.id", "page.listen", "recording.fps", "source[1].kind"] {
            assert!(faults.iter().any(|f| f.starts_with(path)), "{path} is missing in {faults:#?}");
        }
        assert_eq!(faults.len(), 5, "{faults:#?}");
    }

    #[test]
    fn a_camera_on_this_machine_is_read_and_its_faults_are_named() {
        let with = |lines: &str| {
            let text = format!("{}\n[[source]]\nname = \"board\"\nkind = \"camera\"\n{lines}\n", reference());
            Config::parse(&text).map(|config| config.recording.capture.sources[2].kind.clone())
        };
        let camera = |device: &str, size, format| SourceKind::Camera { device: device.into(), size, format };
        assert_eq!(with(""), Ok(camera("/dev/video0", None, None)));
        let full = "device = \"/dev/v4l/by-id/x\"\nsize = \"1280x720\"\nformat = \"raw\"";
        assert_eq!(with(full), Ok(camera("/dev/v4l/by-id/x", Some((1280, 720)), Some(CameraFormat::Raw))));
        for wrong in ["device = \"video0\"", "size = \"big\"", "size = \"1x2\"", "format = \"h264\""] {
            let faults = with(wrong).expect_err("a fault");
            let key = wrong.split(' ').next().unwrap_or_default();
            assert!(faults.len() == 1 && faults[0].starts_with(&format!("source[3].{key}")), "{faults:?}");
        }
    }

    #[test]
    fn a_layout_without_its_sources_is_a_fault() {
        let with = |layout: &str, cameras: &str| {
            let text = reference().replace("layout = \"screen\"", &format!("layout = \"{layout}\""));
            Config::parse(&(text + cameras))
        };
        let one = "\n[[source]]\nname = \"cam\"\nkind = \"network_camera\"\nurl = \"rtsp://10.0.0.2/live\"\n";
        let two = one.to_owned() + &one.replace("\"cam\"", "\"cam2\"");
        let faults = with("screen+camera", "").expect_err("fault");
        assert!(faults.len() == 1 && faults[0].starts_with("recording.layout"), "{faults:?}");
        assert!(with("two-cameras", one).is_err());
        for (layout, cameras) in [
            ("screen", one),
            ("screen+camera", one),
            ("side-by-side", one),
            ("camera", one),
            ("two-cameras", &two),
        ] {
            assert!(with(layout, cameras).is_ok(), "{layout}");
        }
    }
}
