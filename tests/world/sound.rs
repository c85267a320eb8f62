//! The room's microphone: a private PulseAudio server with a null sink `mic`, whose monitor is the
//! microphone, and everything that is heard in it.
//!
//! All sound goes through one stream that never stops (silence between sounds), written in steps of
//! 5 ms by the monotonic clock. So a sound can be placed at an instant, and the sink never has to rewind,
//! which would shift the samples a recorder gets.

use std::process::{ChildStdin, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;

use crate::folder::Folder;
use crate::grab::RATE;
use crate::process::{Process, eventually, output};
use crate::screen::quiet_home;

/// The microphone's name for recorders.
pub const MICROPHONE: &str = "mic.monitor";

/// What the teacher says again and again, in turn.
pub const PHRASES: &[&str] = &[
    "同学们好，今天我们学习草船借箭。",
    "请大家打开课本，默读第一自然段。",
    "周瑜为什么要让诸葛亮造十万支箭？",
    "谁来说一说，诸葛亮的妙算表现在哪里？",
    "江上起了大雾，这场雾很重要。",
];

/// One step of the stream.
const STEP: Duration = Duration::from_millis(5);
const STEP_FRAMES: usize = 240;
/// From the pipe to the microphone, measured: see [`crate::clap`].
const LATENCY: Duration = Duration::from_millis(6);
/// How far ahead a sound is placed that shall be heard at once.
const SOON: Duration = Duration::from_millis(60);
/// Bytes of a step.
const STEP_BYTES: u64 = STEP_FRAMES as u64 * 2;
/// So many steps are watched before one is left out.
const WATCHED: u32 = 40;

/// A sound that is placed in the stream.
struct Placed {
    at: Duration,
    samples: Vec<i16>,
    taken: usize,
}

#[derive(Default)]
struct Mixer {
    pipe: Mutex<Option<ChildStdin>>,
    placed: Mutex<Vec<Placed>>,
    ended: AtomicBool,
}

/// When something can be heard in the microphone.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// Monotonic time of its start.
    pub at: Duration,
    /// Unix milliseconds of its start.
    pub wall_ms: i64,
    /// How long it lasts.
    pub length: Duration,
}

impl Heard {
    /// Waits until it is over.
    pub fn wait(&self) {
        std::thread::sleep((self.at + self.length).saturating_sub(clock::mono()));
    }
}

/// A microphone in a quiet room, until someone speaks.
pub struct Sound {
    socket: String,
    cookie: String,
    mixer: Arc<Mixer>,
    stream: Option<JoinHandle<()>>,
    teacher: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
    parts: Option<(Process, Process)>,
}

impl std::fmt::Debug for Sound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sound").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Sound {
    /// Starts the server and the stream.
    ///
    /// # Errors
    /// When PulseAudio does not start.
    pub fn start(folder: &Folder) -> anyhow::Result<Self> {
        let home = folder.make("pulse")?;
        let socket = format!("unix:{}", home.join("native").display());
        let mixer = Arc::new(Mixer::default());
        let stream = std::thread::Builder::new().name("mixer".to_owned()).spawn({
            let mixer = mixer.clone();
            move || mixer.run()
        })?;
        let cookie = home.join("cookie").display().to_string();
        let mut sound = Self { socket, cookie, mixer, stream: Some(stream), teacher: None, parts: None };
        sound.plug(folder)?;
        Ok(sound)
    }

    /// Plugs the microphone in again after [`Self::unplug`], at the same address.
    ///
    /// # Errors
    /// When PulseAudio does not start.
    pub fn plug(&mut self, folder: &Folder) -> anyhow::Result<()> {
        self.unplug();
        let home = folder.make("pulse")?;
        let mut server = Command::new("pulseaudio");
        // -n: nothing of the machine's own settings or devices. No real-time or shared memory, which
        // containers refuse or which a killed server would leave behind.
        server.args("-n --daemonize=no --exit-idle-time=-1 --use-pid-file=no --log-target=stderr".split(' '));
        server.args("--disallow-exit=yes --high-priority=no --realtime=no --disable-shm=yes".split(' '));
        server.arg("-L").arg(format!(
            "module-native-protocol-unix auth-anonymous=1 socket={}",
            home.join("native").display()
        ));
        server.args(["-L", "module-null-sink sink_name=mic rate=48000 channels=2 format=s16le"]);
        quiet_home(&mut server, &home);
        server.env("PULSE_RUNTIME_PATH", &home).env("PULSE_STATE_PATH", &home).env_remove("PULSE_SERVER");
        let mut server = Process::start(folder, "pulseaudio", server)?;
        let ready = eventually(Duration::from_secs(60), "the microphone in PulseAudio", || {
            if !server.running() {
                return Some(false);
            }
            let sources = output(self.tool("pactl", &["list", "short", "sources"])).ok()?;
            String::from_utf8_lossy(&sources).contains(MICROPHONE).then_some(true)
        });
        ensure!(ready.with_context(|| server.tail_of_log())?, "pulseaudio ended\n{}", server.tail_of_log());
        let options =
            "--playback --raw --device=mic --rate=48000 --channels=1 --format=s16le --latency-msec=10";
        let mut player = self.tool("pacat", &options.split(' ').collect::<Vec<_>>());
        quiet_home(&mut player, &home);
        let (player, pipe) = Process::start_fed(folder, "pacat", player)?;
        *lock(&self.mixer.pipe) = Some(pipe);
        self.parts = Some((server, player));
        Ok(())
    }

    /// Takes the microphone away, server and all.
    pub fn unplug(&mut self) {
        // The player first: a mixer that waits for a frozen server's pipe holds the lock below.
        if let Some((mut server, mut player)) = self.parts.take() {
            player.kill();
            server.stop();
        }
        *lock(&self.mixer.pipe) = None;
    }

    /// Asks the server to move whoever records to a microphone that hears nothing, as a desktop's sound settings
    /// do, and holds it to its refusal: the recorder forbids it.
    ///
    /// # Errors
    /// When nobody records, or the server does move a recorder.
    pub fn try_to_move_recorders(&self) -> anyhow::Result<()> {
        if !self.pactl(&["list", "short", "sources"])?.contains("other.monitor") {
            self.load("module-null-sink sink_name=other")?;
        }
        let recorders = self.pactl(&["list", "short", "source-outputs"])?;
        ensure!(!recorders.is_empty(), "nobody records");
        for recorder in recorders.lines().filter_map(|line| line.split_whitespace().next()) {
            let moved = self.pactl(&["move-source-output", recorder, "other.monitor"]);
            ensure!(moved.is_err(), "the server moved a recorder to another microphone");
        }
        Ok(())
    }

    /// Runs `pactl` on the server; gives what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn pactl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let said = output(self.tool("pactl", arguments))?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    /// Loads a module into the server, given with its arguments; gives its number, to unload it.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn load(&self, module: &str) -> anyhow::Result<String> {
        let mut arguments = vec!["load-module"];
        arguments.extend(module.split(' '));
        self.pactl(&arguments)
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).envs(self.env());
        command
    }

    /// The environment a client needs.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        // Without a cookie of its own a client would make one in the user's home.
        [("PULSE_SERVER", &self.socket), ("PULSE_COOKIE", &self.cookie)]
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .to_vec()
    }

    /// The server's address, as `PULSE_SERVER` wants it.
    #[must_use]
    pub fn server_address(&self) -> &str {
        &self.socket
    }

    /// The PulseAudio server, to freeze or kill; none while unplugged.
    pub fn server(&mut self) -> Option<&mut Process> {
        self.parts.as_mut().map(|(server, _)| server)
    }

    /// Speaks, at once and without waiting: see [`Heard::wait`].
    ///
    /// # Errors
    /// When espeak-ng is missing or fails.
    pub fn speak(&self, text: &str) -> anyhow::Result<Heard> {
        let voice = voice(text)?;
        Ok(self.mixer.place(clock::mono() + SOON, voice))
    }

    /// Speaks one of [`PHRASES`] every few seconds from now on, until [`Self::hush`].
    ///
    /// # Errors
    /// When espeak-ng is missing or fails.
    pub fn keep_speaking(&mut self, every: Duration) -> anyhow::Result<()> {
        self.hush();
        let voices = PHRASES.iter().map(|text| voice(text)).collect::<anyhow::Result<Vec<_>>>()?;
        let (mixer, enough) = (self.mixer.clone(), Arc::new(AtomicBool::new(false)));
        let teacher = std::thread::Builder::new().name("teacher".to_owned()).spawn({
            let enough = enough.clone();
            move || {
                for voice in voices.iter().cycle() {
                    if enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let next = clock::mono() + every;
                    let heard = mixer.place(clock::mono() + SOON, voice.clone());
                    let next = next.max(heard.at + heard.length);
                    while clock::mono() < next && !enough.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            }
        })?;
        self.teacher = Some((enough, teacher));
        Ok(())
    }

    /// Silence at once, also in the middle of a word.
    pub fn hush(&mut self) {
        if let Some((enough, teacher)) = self.teacher.take() {
            enough.store(true, Ordering::Relaxed);
            teacher.join().ok();
        }
        lock(&self.mixer.placed).clear();
    }

    /// A click, as soon as it can be placed exactly.
    #[must_use]
    pub fn click(&self) -> Heard {
        self.click_at(clock::mono() + SOON)
    }

    /// A click that is heard at a monotonic time, at least 50 ms ahead.
    #[must_use]
    pub fn click_at(&self, at: Duration) -> Heard {
        // 20 ms of 1 kHz near full scale: louder than any word, and its first sample is a clear edge.
        let click = (0..960_u16).map(|n| {
            let wave = (f64::from(n) * std::f64::consts::TAU * 1000.0 / f64::from(RATE)).cos();
            to_sample(0.9 * wave)
        });
        self.mixer.place(at, click.collect())
    }
}

impl Drop for Sound {
    fn drop(&mut self) {
        self.hush();
        self.mixer.ended.store(true, Ordering::Relaxed);
        self.unplug();
        if let Some(stream) = self.stream.take() {
            stream.join().ok();
        }
    }
}

impl Mixer {
    fn place(&self, at: Duration, samples: Vec<i16>) -> Heard {
        let length = Duration::from_secs(samples.len() as u64) / RATE;
        lock(&self.placed).push(Placed { at: at.saturating_sub(LATENCY), samples, taken: 0 });
        let ahead = i64::try_from(at.saturating_sub(clock::mono()).as_millis()).unwrap_or(0);
        Heard { at, wall_ms: clock::wall_ms() + ahead, length }
    }

    fn run(&self) {
        let mut due = clock::mono();
        // The least that was waiting in the pipe lately. What waits through a whole watch came from a
        // hold-up of the player and would keep everything late for ever.
        let (mut least, mut watched) = (u64::MAX, 0);
        while !self.ended.load(Ordering::Relaxed) {
            let now = clock::mono();
            if now < due {
                std::thread::sleep(due - now);
            } else if now - due > 4 * STEP {
                // This thread was held up. What it missed stays missed; writing it now would make
                // everything after it late.
                due = now;
            }
            let (silent, step) = self.step(due);
            due += STEP;
            let mut pipe = lock(&self.pipe);
            let Some(open) = pipe.as_mut() else { continue };
            let waiting = rustix::io::ioctl_fionread(&*open).unwrap_or(0);
            (least, watched) = (least.min(waiting), watched + 1);
            if waiting > 8 * STEP_BYTES || watched >= WATCHED && silent && least >= STEP_BYTES {
                (least, watched) = (u64::MAX, WATCHED / 2);
                continue;
            }
            if watched >= WATCHED && silent {
                (least, watched) = (u64::MAX, 0);
            }
            if std::io::Write::write_all(open, &step).is_err() {
                // The player has gone; whoever took it away brings the next one.
                *pipe = None;
            }
        }
    }

    /// Mixes what is placed between `due` and a step later; whether that is nothing, and the bytes.
    fn step(&self, due: Duration) -> (bool, Vec<u8>) {
        let mut mixed = [0_i32; STEP_FRAMES];
        let mut placed = lock(&self.placed);
        let silent = !placed.iter().any(|sound| sound.at < due + STEP);
        for sound in placed.iter_mut().filter(|sound| sound.at < due + STEP) {
            let skip = match sound.taken {
                0 => sound.at.saturating_sub(due).as_micros() as usize * RATE as usize / 1_000_000,
                _ => 0,
            };
            let rest = sound.samples.get(sound.taken..).unwrap_or_default();
            for (out, sample) in mixed.iter_mut().skip(skip).zip(rest) {
                *out += i32::from(*sample);
                sound.taken += 1;
            }
        }
        placed.retain(|sound| sound.taken < sound.samples.len());
        let clip = |sum: i32| i16::try_from(sum.clamp(i16::MIN.into(), i16::MAX.into())).unwrap_or(0);
        (silent, mixed.iter().flat_map(|&sum| clip(sum).to_le_bytes()).collect())
    }
}

/// Mandarin by espeak-ng, brought to [`RATE`] and to a level that leaves room for a click.
fn voice(text: &str) -> anyhow::Result<Vec<i16>> {
    let mut espeak = Command::new("espeak-ng");
    espeak.args(["-v", "cmn", "-s", "150", "--stdout", text]);
    let wav = output(espeak)?;
    let rate = wav.get(24..28).and_then(|b| Some(u32::from_le_bytes(b.try_into().ok()?)));
    let rate = rate.filter(|rate| (8000..=RATE).contains(rate)).context("espeak-ng answered no WAV")?;
    let spoken = crate::grab::samples(wav.get(44..).unwrap_or_default());
    let loudest = spoken.iter().fold(0.0_f32, |most, s| s.abs().max(most));
    ensure!(loudest > 0.05, "espeak-ng said nothing; its voice `cmn` may be missing");
    let gain = f64::from(0.5 / loudest);
    let count = spoken.len() * RATE as usize / rate as usize;
    let at = |n: usize| f64::from(spoken.get(n).copied().unwrap_or(0.0));
    Ok((0..count)
        .map(|n| {
            // Linear between neighbours: a voice for machines to find, not to enjoy.
            let (whole, rest) = (n * rate as usize / RATE as usize, n * rate as usize % RATE as usize);
            let part = rest as f64 / f64::from(RATE);
            to_sample(gain * (at(whole) * (1.0 - part) + at(whole + 1) * part))
        })
        .collect())
}

#[expect(clippy::cast_possible_truncation, reason = "a float to integer cast saturates, which is meant")]
fn to_sample(value: f64) -> i16 {
    (value * 32767.0) as i16
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
