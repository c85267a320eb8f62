//! Sources: one thread each, reopened for as long as the take lasts.
//!
//! A source never reports to the muxer and never stops another source. It leaves its newest
//! picture, or its sound, in a place of its own together with the monotonic time of capture; the
//! session looks there and judges by freshness alone.
//!
//! ```text
//! opening ──ok──▶ live ──error, or nothing for 5 s──▶ lost ──0.5 … 5 s, or plugged in again──▶ opening
//!                   └──another size──▶ opening
//! ```

mod alsa;
mod camera;
mod coded;
mod decode;
mod microphone;
mod network_camera;
mod portal;
mod pulse;
mod screen;
mod stamps;

#[cfg(test)]
pub use stamps::Stamps;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use ffmpeg_next::{Packet, format::Pixel, frame};
use lectern_base::clock;
use lectern_wire::capture::{Source, SourceKind, VideoSettings};
use lectern_wire::manifest::GapCode;

use crate::av::{Patience, Raw};
use crate::metronome::Metronome;
use crate::sound::{Meter, Reading};

pub use coded::Coded;
pub use portal::{check as check_portal, leave as portal_leave};

/// A picture as it came from its source.
pub enum Picture {
    /// Packed pixels.
    Raw(Packet, Raw),
    /// Decoded.
    Frame(frame::Video),
}

/// The newest picture of a source.
pub struct Stamped {
    pub picture: Arc<Picture>,
    /// Monotonic time at which it was captured, or at which it was last known to be still the newest.
    pub at: Duration,
}

impl Stamped {
    /// A number that differs between any two pictures a real camera makes: a hash of sampled luma.
    pub fn print(&self) -> Option<u64> {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let Picture::Frame(frame) = &*self.picture else { return None };
        let mut hasher = DefaultHasher::new();
        for line in frame.data(0).chunks(frame.stride(0).max(1)).step_by(8) {
            line.hash(&mut hasher);
        }
        Some(hasher.finish())
    }

    /// Width and height, pixels.
    pub fn size(&self) -> (u32, u32) {
        match &*self.picture {
            Picture::Raw(_, shape) => (shape.width, shape.height),
            Picture::Frame(frame) => (frame.width(), frame.height()),
        }
    }

    /// Whether it is black but for a few points, such as a mouse pointer's: looks at every eighth pixel of
    /// every eighth row.
    pub fn is_black(&self) -> bool {
        const DARK: u8 = 32;
        let (mut seen, mut lit) = (0u32, 0u32);
        match &*self.picture {
            Picture::Raw(packet, shape) => {
                // The fourth byte of a pixel is padding and may hold anything.
                let skip = usize::from(matches!(shape.format, Pixel::ZBGR | Pixel::ZRGB));
                let pixels = packet.data().unwrap_or_default();
                for row in pixels.chunks(shape.width.max(1) as usize * 4).step_by(8) {
                    for pixel in row.chunks_exact(4).step_by(8) {
                        seen += 1;
                        lit += u32::from(pixel[skip..skip + 3].iter().any(|&v| v >= DARK));
                    }
                }
            }
            Picture::Frame(frame) => {
                for row in frame.data(0).chunks(frame.stride(0).max(1)).step_by(8) {
                    seen += (row.len() / 8) as u32;
                    lit += row.iter().step_by(8).filter(|&&v| v >= DARK).count() as u32;
                }
            }
        }
        lit <= seen / 1000
    }
}

/// Sound as it came from its source: 48 kHz stereo, 16 bit, interleaved.
pub struct Block {
    pub bytes: Vec<u8>,
    /// Monotonic time of the first frame.
    pub at: Duration,
}

/// What a source leaves for the session.
#[derive(Default)]
pub struct Outlet {
    newest: Mutex<Option<Arc<Stamped>>>,
    blocks: Mutex<VecDeque<Block>>,
    fault: Mutex<Option<(GapCode, String)>>,
    /// Counts what it gave.
    given: AtomicU64,
    /// How loud it was since somebody began to listen, and how many times as loud it is taken.
    ear: Mutex<Option<(Meter, f32)>>,
    /// Of a camera: its pictures as they come, while they are wanted so.
    pub wire: coded::Wire,
}

/// Sound kept while nobody takes it; more than this is old news.
const MAX_BLOCKS: usize = 500;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outlet {
    /// Leaves a picture; what is given back tells whether anybody still holds it.
    fn publish(&self, picture: Picture, at: Duration) -> Weak<Picture> {
        self.well();
        let picture = Arc::new(picture);
        let held = Arc::downgrade(&picture);
        *lock(&self.newest) = Some(Arc::new(Stamped { picture, at }));
        held
    }

    /// The newest picture, if there is one, is still the newest at this time: nothing has changed on the screen.
    fn still(&self, at: Duration) {
        let mut newest = lock(&self.newest);
        if let Some(picture) = newest.as_ref().map(|stamped| stamped.picture.clone()) {
            self.well();
            *newest = Some(Arc::new(Stamped { picture, at }));
        }
    }

    /// It gives something: whatever was wrong before is no cause of what may be wrong next.
    fn well(&self) {
        self.given.fetch_add(1, Ordering::Relaxed);
        *lock(&self.fault) = None;
    }

    /// Notes why there is nothing now.
    fn note(&self, code: GapCode, cause: String) {
        *lock(&self.fault) = Some((code, cause));
    }

    fn push(&self, block: Block) {
        self.well();
        if let Some((meter, gain)) = lock(&self.ear).as_mut() {
            meter.hear(&block.bytes, *gain);
        }
        let mut blocks = lock(&self.blocks);
        if blocks.len() >= MAX_BLOCKS {
            blocks.pop_front();
        }
        blocks.push_back(block);
    }

    /// The newest picture, if there ever was one.
    pub fn newest(&self) -> Option<Arc<Stamped>> {
        lock(&self.newest).clone()
    }

    /// Takes all sound that has arrived.
    pub fn blocks(&self) -> Vec<Block> {
        lock(&self.blocks).drain(..).collect()
    }

    /// Measures how loud it is from now on, taken `gain` times as loud.
    pub fn listen(&self, gain: f32) {
        *lock(&self.ear) = Some((Meter::default(), gain));
    }

    /// How many frames of sound were heard since [`Self::listen`].
    pub fn heard(&self) -> u32 {
        lock(&self.ear).as_ref().map_or(0, |(meter, _)| meter.frames())
    }

    /// How loud they were; nobody listens any more.
    pub fn loudness(&self) -> Option<Reading> {
        lock(&self.ear).take().and_then(|(mut meter, _)| meter.take())
    }

    /// Why there is nothing now; nothing while there is something.
    pub fn fault(&self) -> Option<(GapCode, String)> {
        lock(&self.fault).clone()
    }
}

/// A source at work.
pub struct Running {
    pub name: String,
    pub kind: SourceKind,
    pub outlet: Arc<Outlet>,
    patience: Arc<Patience>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a source's thread; a test source has none, it is a function of time. `video` is the picture the
/// lesson will have.
pub fn start(source: &Source, metronome: &Arc<Metronome>, video: VideoSettings) -> anyhow::Result<Running> {
    let outlet = Arc::new(Outlet::default());
    let patience = Arc::new(Patience::default());
    let (outlet_of, patience_of, metronome) = (outlet.clone(), patience.clone(), metronome.clone());
    let worker = Worker { outlet: outlet_of, patience: patience_of, metronome, video };
    let kind = source.kind.clone();
    let thread = match source.kind {
        SourceKind::Test => None,
        _ => {
            let name = source.name.clone();
            Some(
                std::thread::Builder::new()
                    .name(name.clone())
                    .spawn(move || worker.keep_open(&name, &kind))?,
            )
        }
    };
    Ok(Running { name: source.name.clone(), kind: source.kind.clone(), outlet, patience, thread })
}

impl Running {
    /// Asks the thread to end, without waiting for it.
    pub fn end(&self) {
        self.patience.end();
    }

    /// Asks the thread to end. A driver that never returns is left behind: the process is about to
    /// end, which frees it.
    pub fn stop(&mut self) {
        self.patience.end();
        if let Some(thread) = self.thread.take() {
            let give_up = clock::mono() + Duration::from_millis(200);
            while !thread.is_finished() && clock::mono() < give_up {
                std::thread::sleep(Duration::from_millis(5));
            }
            if !thread.is_finished() {
                tracing::warn!(source = self.name, "the source did not end and is left behind");
            } else if thread.join().is_err() {
                tracing::error!(source = self.name, "the source's thread had panicked");
            }
        }
    }
}

/// What a source's thread holds.
struct Worker {
    outlet: Arc<Outlet>,
    patience: Arc<Patience>,
    metronome: Arc<Metronome>,
    video: VideoSettings,
}

impl Worker {
    fn keep_open(&self, name: &str, kind: &SourceKind) {
        let mut wait = Duration::from_millis(500);
        while !self.patience.ended() {
            let opened = clock::mono();
            let given = self.outlet.given.load(Ordering::Relaxed);
            let outcome = match kind {
                SourceKind::Screen { display } => screen::pump(self, display),
                SourceKind::WaylandScreen { leave } => portal::pump(self, leave),
                SourceKind::NetworkCamera { url, transport } => network_camera::pump(self, url, *transport),
                SourceKind::Camera { device, size, format } => {
                    let wish = (self.video.width, self.video.height, self.video.fps);
                    camera::pump(self, device, *size, *format, wish)
                }
                SourceKind::Microphone { device, system, .. } => microphone::pump(self, *system, device),
                SourceKind::Test => Ok(()),
            };
            if self.patience.ended() {
                break;
            }
            let Err(cause) = outcome else {
                tracing::info!(source = name, "the source changed its shape and is opened anew");
                continue;
            };
            let cause = format!("{cause:#}");
            tracing::warn!(source = name, cause, "source lost; it will be reopened");
            let gave = self.outlet.given.load(Ordering::Relaxed) != given;
            let code = if gave { GapCode::Lost } else { GapCode::CannotOpen };
            self.outlet.note(code, cause);
            if clock::mono() - opened > Duration::from_secs(30) {
                wait = Duration::from_millis(500);
            }
            self.wait(kind, clock::mono() + wait);
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// Waits before the next attempt; no longer when a device file that was away appears: somebody has just
    /// plugged it in again.
    fn wait(&self, kind: &SourceKind, until: Duration) {
        let file = match kind {
            SourceKind::Camera { device, .. } => Some(std::path::Path::new(device)),
            _ => None,
        };
        let away = |file: Option<&std::path::Path>| file.is_some_and(|file| !file.exists());
        let was_away = away(file);
        while clock::mono() < until && !self.patience.ended() && (!was_away || away(file)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
