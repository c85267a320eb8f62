//! 直播: sends what goes into the take to a live server as well, and never holds the take up.
//!
//! ```text
//! session ─offer─▶ queue (bounded, whole groups left out) ─▶ thread ─pipe (NUT)─▶ `lectern-recorder push` ─▶ server
//!                                                              ▲─── connected, or why not ───┘
//! ```
//!
//! What speaks to the server is a process of its own: whatever a server answers, a fault in libav's protocols
//! ends that process and nothing else, and one that hangs is killed. It is given the address by its standard input,
//! where nobody can read it.

mod child;
mod queue;
mod relay;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ffmpeg_next::codec::Parameters;
use lectern_base::{chance, clock};
use lectern_wire::live::LiveState;

use crate::waiting::Waiting;
use queue::Queue;
use relay::Relay;

pub use child::run;

/// Before the first attempt after a loss; doubled with every one in vain.
const SOONEST: Duration = Duration::from_secs(1);
/// See [`SOONEST`].
const LATEST: Duration = Duration::from_secs(30);
/// A connection that lasted this long was a good one.
const LASTED: Duration = Duration::from_secs(60);
/// How long after something was left out the line counts as slow.
const SLOW_FOR: Duration = Duration::from_secs(10);
/// A process that takes nothing for so long hangs: its own patience is half of this.
const HANGS: Duration = Duration::from_secs(20);
/// What is still to be sent when the take has ended gets so long.
const LAST_MOMENT: Duration = Duration::from_millis(1500);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What session and thread share.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    over: AtomicBool,
    /// Where it stands, and why it is lost.
    state: Mutex<(LiveState, String)>,
    /// When something was last left out.
    left_out: Mutex<Option<Duration>>,
    /// The process that sends, and since when it has been given something it does not take.
    sender: Mutex<Option<std::process::Child>>,
    given: Mutex<Option<Duration>>,
}

impl Shared {
    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn stands(&self, state: LiveState, cause: &str) {
        *lock(&self.state) = (state, cause.to_owned());
    }

    /// The next packet; nothing when it is over.
    fn next(&self) -> Option<Waiting> {
        let mut queue = lock(&self.queue);
        loop {
            if self.over() {
                return None;
            }
            if let Some(next) = queue.pop() {
                return Some(next);
            }
            let waited = self.filled.wait_timeout(queue, Duration::from_millis(500));
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn kill_sender(&self) {
        if let Some(sender) = lock(&self.sender).as_mut()
            && let Err(e) = sender.kill()
        {
            tracing::debug!("what sends live had ended already: {e}");
        }
    }
}

/// A lesson being sent.
pub struct Push {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    told: (LiveState, String),
}

impl Push {
    /// Begins to send picture and sound of these parameters, in the background.
    pub fn start(url: &str, parameters: [Parameters; 2]) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.stands(LiveState::Connecting, "");
        let (url, of_thread) = (url.to_owned(), shared.clone());
        let thread = std::thread::Builder::new()
            .name("live".into())
            .spawn(move || keep_sending(&of_thread, &url, &parameters))?;
        Ok(Self { shared, thread: Some(thread), told: (LiveState::Off, String::new()) })
    }

    /// Takes a copy of a packet; never waits for anything.
    pub fn offer(&self, waiting: &Waiting) {
        if lock(&self.shared.queue).push(waiting) {
            *lock(&self.shared.left_out) = Some(clock::mono());
        }
        self.shared.filled.notify_one();
    }

    /// Where it stands, when that has changed since it was last asked; also notices a process that hangs.
    pub fn change(&mut self) -> Option<(LiveState, String)> {
        let now = clock::mono();
        let given = *lock(&self.shared.given);
        if given.is_some_and(|at| now.saturating_sub(at) > HANGS) {
            self.shared.kill_sender();
        }
        let mut state = lock(&self.shared.state).clone();
        let left_out = *lock(&self.shared.left_out);
        if state.0 == LiveState::Live && left_out.is_some_and(|at| now.saturating_sub(at) < SLOW_FOR) {
            state.0 = LiveState::Slow;
        }
        // Why it fails again is no news while it is lost.
        let news = state.0 != self.told.0;
        self.told = state;
        news.then(|| self.told.clone())
    }

    /// Ends it, without waiting.
    pub fn end(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.shared.filled.notify_one();
    }

    /// Ends it; what was sent is given a moment to arrive.
    pub fn close(&mut self) {
        self.end();
        let Some(thread) = self.thread.take() else { return };
        let give_up = clock::mono() + LAST_MOMENT + Duration::from_millis(200);
        while !thread.is_finished() && clock::mono() < give_up {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !thread.is_finished() {
            self.shared.kill_sender();
        }
    }
}

/// Connects again and again until it is over.
fn keep_sending(shared: &Shared, url: &str, parameters: &[Parameters; 2]) {
    let shown = lectern_wire::live::shown(url);
    let mut wait = SOONEST;
    while !shared.over() {
        let began = clock::mono();
        lock(&shared.queue).clear();
        let outcome = Relay::start(shared, url, parameters).and_then(|mut relay| relay.send_all(shared));
        if shared.over() {
            return;
        }
        let cause = outcome.err().map_or_else(|| "it ended".into(), |e| format!("{e:#}"));
        tracing::warn!(
            server = shown,
            cause,
            "the live server does not take the lesson; the recording goes on"
        );
        shared.stands(LiveState::Lost, &cause);
        if clock::mono().saturating_sub(began) > LASTED {
            wait = SOONEST;
        }
        // Sixty rooms do not come back at the same instant.
        let jitter = Duration::from_millis(chance::below(u64::try_from(wait.as_millis() / 4).unwrap_or(0)));
        let until = clock::mono() + wait + jitter;
        while clock::mono() < until && !shared.over() {
            std::thread::sleep(Duration::from_millis(50));
        }
        wait = (wait * 2).min(LATEST);
    }
}
