//! What this machine could record with, as `lectern doctor` shows it: each device with the lines that put it into
//! agent.toml, and what cannot be listed with the reason. The recorder looks; a driver in which it hangs costs a
//! sentence.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::capture::{CaptureSettings, SourceKind};
use lectern_wire::devices::{Camera, Devices, Microphone, Mode, Screen};
use serde_json::{Value, json};

/// Each system has four seconds, and all are asked at once.
const LIMIT: Duration = Duration::from_secs(10);

/// Everything the recorder finds; cameras of the settings are looked at wherever they are.
///
/// # Errors
/// A sentence.
pub fn list(recorder: &Path, capture: &CaptureSettings) -> Result<Devices, String> {
    let mut command = crate::platform::recorder::command(recorder);
    command.arg("devices");
    for source in &capture.sources {
        if let SourceKind::Camera { device, .. } = &source.kind {
            command.arg("--camera").arg(device);
        }
    }
    let said = within(command, LIMIT).map_err(|e| format!("{} devices: {e}", recorder.display()))?;
    serde_json::from_slice(&said).map_err(|e| {
        format!("{} devices: its answer cannot be read ({e}); is it of this version?", recorder.display())
    })
}

/// What a program prints until it ends in order.
fn within(mut command: Command, limit: Duration) -> Result<Vec<u8>, String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|e| format!("it could not be started: {e}"))?;
    let mut pipe = child.stdout.take().ok_or("it has no pipe")?;
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        pipe.read_to_end(&mut said).map(|_| said)
    });
    let give_up = clock::mono() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if clock::mono() < give_up => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                // Not waited for: inside a driver that hangs it may never end.
                let ended =
                    child.kill().err().map_or_else(String::new, |e| format!(" and could not be ended: {e}"));
                return Err(format!("no answer within {} s{ended}", limit.as_secs()));
            }
            Err(e) => return Err(e.to_string()),
        }
    };
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    match reader.join() {
        Ok(said) => said.map_err(|e| e.to_string()),
        Err(_) => Err("what it said could not be read".into()),
    }
}

/// For programs: the listing with every device's lines.
pub fn value(devices: &Devices, encoder: &str) -> Value {
    let with = |mut value: Value, settings: String| {
        value["settings"] = settings.into();
        value
    };
    let of = |value: Result<Value, serde_json::Error>| value.unwrap_or_default();
    let cameras = devices.cameras.iter().map(|c| with(of(serde_json::to_value(c)), c.settings()));
    let microphones = devices.microphones.iter().map(|m| with(of(serde_json::to_value(m)), m.settings()));
    let screens = devices.screens.iter().map(|s| with(of(serde_json::to_value(s)), s.settings()));
    json!({
        "cameras": cameras.collect::<Vec<_>>(),
        "microphones": microphones.collect::<Vec<_>>(),
        "screens": screens.collect::<Vec<_>>(),
        "encoder": { "chosen": encoder, "settings": encoder_settings() },
        "unlisted": devices.unlisted,
    })
}

fn encoder_settings() -> &'static str {
    "[recording]\nencoder = \"auto\"\n"
}

/// For people: narrow enough to be photographed.
pub fn table(devices: &Devices, encoder: &str) -> String {
    let mut out =
        vec!["devices: what this machine could record with, and its lines for agent.toml".to_owned()];
    let mut row = |what: &str, text: String, more: Vec<String>, settings: String| {
        out.push(String::new());
        out.push(format!("{what:<11} {text}"));
        out.extend(more.into_iter().map(|line| format!("            {line}")));
        out.extend(settings.lines().map(|line| format!("            | {line}")));
    };
    for camera in &devices.cameras {
        row(
            "camera",
            format!("{} ({})", printable(&camera.name), camera.path),
            camera_lines(camera),
            camera.settings(),
        );
    }
    for microphone in &devices.microphones {
        row("microphone", printable(&microphone.name), microphone_lines(microphone), microphone.settings());
    }
    for screen in &devices.screens {
        let (text, more) = match screen {
            Screen::X11 { display, size: Some((width, height)), .. } => {
                (format!("X display {display}, {width}x{height}"), Vec::new())
            }
            Screen::X11 { display, problem, .. } => {
                (format!("X display {display}"), problem.iter().map(|p| format!("BAD: {p}")).collect())
            }
            Screen::Wayland { said } => (said.clone(), Vec::new()),
        };
        row("screen", text, more, screen.settings());
    }
    row("encoder", encoder.to_owned(), Vec::new(), encoder_settings().to_owned());
    for (what, none) in [
        ("camera", devices.cameras.is_empty()),
        ("microphone", devices.microphones.is_empty()),
        ("screen", devices.screens.is_empty()),
    ] {
        if none {
            row(what, "none found".into(), Vec::new(), String::new());
        }
    }
    for one in &devices.unlisted {
        row("not listed", format!("{}: {}", one.what, printable(&one.why)), Vec::new(), String::new());
    }
    out.join("\n")
}

fn camera_lines(camera: &Camera) -> Vec<String> {
    let mut lines: Vec<String> = camera.problem.iter().map(|p| format!("BAD: {p}")).collect();
    for format in camera.modes.chunk_by(|a, b| a.format == b.format) {
        let sizes = format.iter().map(|mode: &Mode| {
            let rates: Vec<_> = mode.fps.iter().map(f64::to_string).collect();
            let at = if rates.is_empty() { String::new() } else { format!(" at {}", rates.join(" ")) };
            format!("{}x{}{at}", mode.width, mode.height)
        });
        let name = format.first().map_or("", |mode| mode.format.as_str());
        // Three to a line: a camera may give dozens.
        for (n, sizes) in sizes.collect::<Vec<_>>().chunks(3).enumerate() {
            lines.push(format!("{:<8} {}", if n == 0 { name } else { "" }, sizes.join(" · ")));
        }
    }
    if !camera.unused.is_empty() {
        lines.push(format!("also {}, which Lectern does not use", camera.unused.join(", ")));
    }
    lines
}

fn microphone_lines(microphone: &Microphone) -> Vec<String> {
    let mut lines: Vec<String> = microphone.problem.iter().map(|p| format!("BAD: {p}")).collect();
    if microphone.channels > 0 {
        let channels = if microphone.channels == 1 {
            "1 channel".into()
        } else {
            format!("{} channels", microphone.channels)
        };
        lines.push(format!("{channels}, {} Hz", microphone.rate));
    }
    if microphone.default {
        lines.push("the one that \"default\" means now".into());
    }
    if microphone.monitor {
        lines.push("no microphone: it gives what the loudspeakers play".into());
    }
    lines
}

/// A name that a device gave itself, without what would move the terminal's cursor.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lectern_wire::capture::SoundSystem;
    use lectern_wire::devices::Unlisted;

    #[test]
    fn a_recorder_that_hangs_or_breaks_off_costs_a_sentence() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            within(command, Duration::from_secs(5))
        };
        assert_eq!(run("printf yes"), Ok(b"yes".to_vec()));
        assert_eq!(run("exec sleep 60"), Err("no answer within 5 s".into()));
        assert!(run("exit 3").expect_err("a failure").contains("exit status: 3"));
        assert!(within(Command::new("/lectern-of-nobody"), LIMIT).is_err());
    }

    #[test]
    fn each_device_stands_with_its_lines_and_each_gap_with_its_reason() {
        let mode = |format: &str, width, height, fps: &[f64]| Mode {
            format: format.into(),
            width,
            height,
            fps: fps.to_vec(),
        };
        let devices = Devices {
            cameras: vec![Camera {
                name: "HD Pro Webcam C920\u{1b}[2J".into(),
                device: "/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920-video-index0".into(),
                path: "/dev/video0".into(),
                modes: vec![mode("mjpeg", 1920, 1080, &[30.0, 23.98]), mode("yuyv422", 640, 480, &[30.0])],
                unused: vec!["H264".into()],
                problem: None,
            }],
            microphones: vec![Microphone {
                name: "讲台话筒".into(),
                system: SoundSystem::Pulse,
                device: "alsa_input.usb-mic".into(),
                default: true,
                monitor: false,
                channels: 1,
                rate: 48000,
                problem: None,
            }],
            screens: Vec::new(),
            unlisted: vec![Unlisted { what: "X11".into(), why: "nobody is logged in".into() }],
        };
        let table = table(&devices, "libx264");
        for wanted in [
            "camera      HD Pro Webcam C920?[2J (/dev/video0)",
            "            mjpeg    1920x1080 at 30 23.98",
            "            | device = \"/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920-video-index0\"",
            "            also H264, which Lectern does not use",
            "            1 channel, 48000 Hz",
            "            | device = \"alsa_input.usb-mic\"",
            "encoder     libx264",
            "screen      none found",
            "not listed  X11: nobody is logged in",
        ] {
            assert!(table.lines().any(|line| line == wanted), "{wanted}\n{table}");
        }
        let value = value(&devices, "libx264");
        assert_eq!(value["microphones"][0]["settings"], devices.microphones[0].settings());
    }
}
