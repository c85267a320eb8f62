//! Everything on this machine that a lesson could be recorded with, for `lectern doctor`.
//!
//! Each system is asked in a thread of its own and given a few seconds: a display server or a driver that hangs
//! costs its own lines and no others.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use lectern_base::clock;
use lectern_wire::capture::SoundSystem;
use lectern_wire::devices::{Camera, Devices, Microphone, Mode, Screen, Unlisted};
use libpulse_binding::callbacks::ListResult;
use libpulse_binding::context::{self, Context};
use libpulse_binding::mainloop::standard::{IterateResult, Mainloop};
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::ConnectionExt as _;

use crate::av;

/// How long one system may take to answer.
const LIMIT: Duration = Duration::from_secs(4);
/// The picture that a camera's ranges of sizes are fitted to.
const WISH: (u32, u32, u32) = (1920, 1080, 25);

/// Prints the [`Devices`] as one JSON line. `cameras` are device files to look at beside those that are found.
pub fn run(cameras: Vec<PathBuf>) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&list(cameras))?);
    Ok(())
}

fn list(named: Vec<PathBuf>) -> Devices {
    let asked = [
        ask("cameras", move |found| cameras(found, &named)),
        ask("PulseAudio or PipeWire", pulse),
        ask("ALSA", |found| alsa(found, Path::new("/proc/asound"), Path::new("/dev/snd"))),
        ask("X11", x11),
        ask("Wayland", wayland),
    ];
    let mut all = Devices::default();
    for asked in asked {
        let mut found = asked.answer();
        all.cameras.append(&mut found.cameras);
        all.microphones.append(&mut found.microphones);
        all.screens.append(&mut found.screens);
        all.unlisted.append(&mut found.unlisted);
    }
    all
}

/// A system that is being asked.
struct Asked(&'static str, Duration, mpsc::Receiver<Devices>);

fn ask(what: &'static str, list: impl FnOnce(&mut Devices) -> anyhow::Result<()> + Send + 'static) -> Asked {
    let (answer, answered) = mpsc::channel();
    // Not joined: it may hang for ever, and then ends with this process.
    std::thread::spawn(move || {
        let mut found = Devices::default();
        if let Err(e) = list(&mut found) {
            found.unlisted.push(unlisted(what, &format!("{e:#}")));
        }
        if answer.send(found).is_err() {
            tracing::debug!("{what} answered too late");
        }
    });
    Asked(what, clock::mono() + LIMIT, answered)
}

impl Asked {
    fn answer(self) -> Devices {
        let Self(what, until, answered) = self;
        answered.recv_timeout(until.saturating_sub(clock::mono())).unwrap_or_else(|_| {
            let why = format!("no answer within {} s", LIMIT.as_secs());
            Devices { unlisted: vec![unlisted(what, &why)], ..Devices::default() }
        })
    }
}

fn unlisted(what: &str, why: &str) -> Unlisted {
    Unlisted { what: what.into(), why: why.into() }
}

/// V4L2: what is in `/dev` and what the settings name.
fn cameras(found: &mut Devices, named: &[PathBuf]) -> anyhow::Result<()> {
    let devices = std::fs::read_dir("/dev").context("/dev cannot be read")?.flatten().map(|e| e.path());
    let mut paths: BTreeSet<PathBuf> = devices.filter(|path| numbered(path, "video").is_some()).collect();
    paths.extend(named.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())));
    for path in paths {
        let text = path.to_string_lossy().into_owned();
        let device = lasting_name(Path::new("/dev/v4l/by-id"), &path).unwrap_or_else(|| text.clone());
        let mut camera = Camera {
            name: String::new(),
            device,
            path: text.clone(),
            modes: Vec::new(),
            unused: Vec::new(),
            problem: None,
        };
        match av::camera_name(&text) {
            // A second file of a camera, for what is no picture, or a device that only gives pictures out.
            Ok(Some((_, false))) => continue,
            Ok(Some((name, true))) => camera.name = name,
            Ok(None) => camera.problem = Some("it is no camera".into()),
            Err(e) => {
                let hint = match e.kind() {
                    std::io::ErrorKind::PermissionDenied => ": who runs Lectern must be in the group video",
                    _ => "",
                };
                camera.problem = Some(format!("it cannot be opened: {e}{hint}"));
            }
        }
        if camera.problem.is_none() {
            match av::camera_modes(&text, WISH).and_then(|modes| Ok((modes, av::camera_letters(&text)?))) {
                Ok((modes, unused)) => (camera.modes, camera.unused) = (gathered(&modes), unused),
                Err(e) => camera.problem = Some(format!("it does not say what it gives: {e}")),
            }
        }
        found.cameras.push(camera);
    }
    Ok(())
}

/// The number of a device file of a name.
fn numbered(path: &Path, name: &str) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix(name)?.parse().ok()
}

/// The link of a folder that leads to a device and goes on leading to it when others are plugged in.
fn lasting_name(folder: &Path, device: &Path) -> Option<String> {
    let links = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path());
    let mut fits: Vec<_> = links.filter(|link| link.canonicalize().is_ok_and(|to| to == device)).collect();
    fits.sort();
    fits.first().map(|link| link.to_string_lossy().into_owned())
}

/// Modes with the rates of one size together, larger ones first.
fn gathered(modes: &[av::Mode]) -> Vec<Mode> {
    let mut out: Vec<Mode> = Vec::new();
    for mode in modes {
        let same = |m: &Mode| m.format == mode.format && (m.width, m.height) == (mode.width, mode.height);
        let n = out.iter().position(same).unwrap_or_else(|| {
            let (format, width, height) = (mode.format.to_owned(), mode.width, mode.height);
            out.push(Mode { format, width, height, fps: Vec::new() });
            out.len() - 1
        });
        if mode.fps > 0.0 {
            out[n].fps.push((mode.fps * 100.0).round() / 100.0);
        }
    }
    for mode in &mut out {
        mode.fps.sort_by(|a, b| b.total_cmp(a));
        mode.fps.dedup();
    }
    out.sort_by(|a, b| {
        (&a.format, b.width * b.height, b.width).cmp(&(&b.format, a.width * a.height, a.width))
    });
    out
}

/// The sources of the sound server.
fn pulse(found: &mut Devices) -> anyhow::Result<()> {
    let until = clock::mono() + LIMIT - Duration::from_millis(500);
    let mut mainloop = Mainloop::new().context("no memory for a connection to the sound server")?;
    let mut context = Context::new(&mainloop, "Lectern").context("no memory for a client")?;
    let no_server = |context: &Context| {
        let why = context.errno().to_string().unwrap_or_else(|| "it does not answer".into());
        anyhow!(
            "no sound server answers ({why}); it belongs to whoever is logged in, and is there only for them"
        )
    };
    let flags = context::FlagSet::NOAUTOSPAWN;
    if context.connect(None, flags, None).is_err() {
        return Err(no_server(&context));
    }
    loop {
        match context.get_state() {
            context::State::Ready => break,
            context::State::Failed | context::State::Terminated => return Err(no_server(&context)),
            _ => turn(&mut mainloop, until)?,
        }
    }
    let sources: Rc<RefCell<(Vec<Microphone>, bool)>> = Rc::default();
    let default: Rc<RefCell<Option<Option<String>>>> = Rc::default();
    let (into, name) = (sources.clone(), default.clone());
    let _server = context.introspect().get_server_info(move |info| {
        *name.borrow_mut() = Some(info.default_source_name.as_ref().map(|n| n.clone().into_owned()));
    });
    let _list = context.introspect().get_source_info_list(move |item| match item {
        ListResult::Item(info) => into.borrow_mut().0.push(Microphone {
            name: info.description.as_deref().unwrap_or_default().to_owned(),
            system: SoundSystem::Pulse,
            device: info.name.as_deref().unwrap_or_default().to_owned(),
            default: false,
            monitor: info.monitor_of_sink.is_some(),
            channels: info.sample_spec.channels.into(),
            rate: info.sample_spec.rate,
            problem: None,
        }),
        ListResult::End | ListResult::Error => into.borrow_mut().1 = true,
    });
    while !sources.borrow().1 || default.borrow().is_none() {
        if !matches!(context.get_state(), context::State::Ready) {
            return Err(no_server(&context));
        }
        turn(&mut mainloop, until)?;
    }
    let default = default.borrow().clone().flatten();
    let mut sources = std::mem::take(&mut sources.borrow_mut().0);
    for source in &mut sources {
        source.default = default.as_ref() == Some(&source.device);
    }
    // Microphones before what only gives the loudspeakers' sound.
    sources.sort_by(|a, b| (a.monitor, &a.device).cmp(&(b.monitor, &b.device)));
    found.microphones = sources;
    Ok(())
}

fn turn(mainloop: &mut Mainloop, until: Duration) -> anyhow::Result<()> {
    match mainloop.iterate(false) {
        IterateResult::Success(0) => std::thread::sleep(Duration::from_millis(5)),
        IterateResult::Success(_) => {}
        IterateResult::Quit(_) | IterateResult::Err(_) => bail!("the sound server has gone"),
    }
    if clock::mono() > until {
        bail!("the sound server does not answer");
    }
    Ok(())
}

/// The cards of the kernel, read where it lists them: nothing is opened that a lesson may be using.
fn alsa(found: &mut Devices, proc: &Path, dev: &Path) -> anyhow::Result<()> {
    let list = proc.join("pcm");
    let text = std::fs::read_to_string(&list)
        .map_err(|e| anyhow!("no sound card: {} cannot be read ({e})", list.display()))?;
    for line in text.lines() {
        // Card and device in two digits each, id, name, then what it can do: `00-00: ALC257 : ALC257 : capture 1`.
        let mut parts = line.split(':').map(str::trim);
        let numbers = parts.next().and_then(|n| n.split_once('-'));
        let numbers = numbers.and_then(|(c, d)| Some((c.parse::<u32>().ok()?, d.parse::<u32>().ok()?)));
        let (Some((card, device)), name) = (numbers, parts.nth(1).unwrap_or_default()) else { continue };
        if !parts.any(|part| part.starts_with("capture")) {
            continue;
        }
        let id = std::fs::read_to_string(proc.join(format!("card{card}/id")));
        let id = id.map_or_else(|_| card.to_string(), |id| id.trim().to_owned());
        let file = dev.join(format!("pcmC{card}D{device}c"));
        let problem = rustix::fs::access(&file, rustix::fs::Access::READ_OK).err().map(|e| {
            format!("{} cannot be read: {e}: who runs Lectern must be in the group audio", file.display())
        });
        found.microphones.push(Microphone {
            name: format!("{id}: {name}"),
            system: SoundSystem::Alsa,
            device: format!("plughw:CARD={id},DEV={device}"),
            default: false,
            monitor: false,
            channels: 0,
            rate: 0,
            problem,
        });
    }
    Ok(())
}

/// Every X display of this machine, and the one of the environment.
fn x11(found: &mut Devices) -> anyhow::Result<()> {
    let mut displays = BTreeSet::new();
    let sockets = std::fs::read_dir("/tmp/.X11-unix").into_iter().flatten().flatten().map(|e| e.path());
    displays.extend(sockets.filter_map(|path| numbered(&path, "X")).map(|n| format!(":{n}")));
    // A server inside a container, or one whose socket file was cleaned away, has the other kind of socket.
    let hidden = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let hidden =
        hidden.lines().filter_map(|line| line.split_once("@/tmp/.X11-unix/X")?.1.parse::<u32>().ok());
    displays.extend(hidden.map(|n| format!(":{n}")));
    displays.extend(std::env::var("DISPLAY").ok().filter(|name| !name.is_empty()));
    if displays.is_empty() {
        bail!("no X display is there: nobody is logged in at a screen, or the desktop is a Wayland one");
    }
    for display in displays {
        let (size, problem) = match size_of(&display) {
            Ok(size) => (Some(size), None),
            Err(e) => (None, Some(format!("it cannot be opened: {e:#}"))),
        };
        found.screens.push(Screen::X11 { display, size, problem });
    }
    Ok(())
}

fn size_of(display: &str) -> anyhow::Result<(u32, u32)> {
    let (connection, screen) = x11rb::connect(Some(display))?;
    let root = connection.setup().roots.get(screen).context("the display has no such screen")?.root;
    let shape = connection.get_geometry(root)?.reply()?;
    Ok((shape.width.into(), shape.height.into()))
}

/// The desktop portal, asked by a process of its own.
fn wayland(found: &mut Devices) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let out =
        std::process::Command::new(program).arg("portal").stdin(std::process::Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if !out.status.success() {
        bail!("{said}");
    }
    found.screens.push(Screen::Wayland { said });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_read_as_the_kernel_lists_them() {
        let folder = std::env::temp_dir().join(format!("lectern-asound-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("card1")).expect("a folder");
        let list = "00-00: HDMI 0 : HDMI 0 : playback 1\n\
                    00-02: ALC257 Analog : ALC257 Analog : playback 1 : capture 1\n\
                    01-00: USB Audio : USB Audio : capture 1\nnonsense\n";
        std::fs::write(folder.join("pcm"), list).expect("a file");
        std::fs::write(folder.join("card1/id"), "Jabra\n").expect("a file");
        std::fs::write(folder.join("pcmC1D0c"), "").expect("a file");
        let mut found = Devices::default();
        alsa(&mut found, &folder, &folder).expect("a list");
        let all: Vec<_> =
            found.microphones.iter().map(|m| (m.device.as_str(), m.problem.is_none())).collect();
        assert_eq!(all, [("plughw:CARD=0,DEV=2", false), ("plughw:CARD=Jabra,DEV=0", true)]);
        let none = alsa(&mut found, &folder.join("gone"), &folder).expect_err("no list");
        assert!(none.to_string().starts_with("no sound card"), "{none}");
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn a_system_that_fails_or_breaks_off_costs_its_own_lines_only() {
        let failed = ask("X11", |_| bail!("nobody is there")).answer();
        assert_eq!(failed.unlisted, [unlisted("X11", "nobody is there")]);
        let broken = ask("ALSA", |_| panic!("a driver broke off")).answer();
        assert_eq!(broken.unlisted[0].what, "ALSA");
    }

    #[test]
    fn the_rates_of_one_size_stand_together() {
        let mode = |format, width, height, fps| av::Mode { format, width, height, fps };
        let modes = [
            mode("yuyv422", 640, 480, 30.0),
            mode("mjpeg", 1280, 720, 30.0),
            mode("mjpeg", 1920, 1080, 24.0),
            mode("mjpeg", 1920, 1080, 30.0),
            mode("nv12", 640, 360, 0.0),
        ];
        let all: Vec<_> = gathered(&modes).into_iter().map(|m| (m.format, m.width, m.fps)).collect();
        let wanted = [
            ("mjpeg", 1920, vec![30.0, 24.0]),
            ("mjpeg", 1280, vec![30.0]),
            ("nv12", 640, vec![]),
            ("yuyv422", 640, vec![30.0]),
        ];
        assert_eq!(all, wanted.map(|(format, width, fps)| (format.to_owned(), width, fps)));
    }
}
