//! A recorder that is ready before the press: sources and encoders open, nothing kept, or only the newest seconds
//! in memory where the settings ask for that.
//!
//! ```text
//! armed ──Command::Start with a job──▶ records it, as if started for it
//!   ├──Command::Preflight──▶ says how the sources are, and waits on
//!   └──Command::Stop, a signal, nobody connected for 10 s──▶ ends, and nothing was ever written
//! ```

use std::time::Duration;

use anyhow::ensure;
use lectern_base::clock;
use lectern_wire::capture::CaptureSettings;
use lectern_wire::recorder::{Armed, Command, Event, Job};

use crate::link::Link;
use crate::preflight::Looking;
use crate::session::{Session, hello, told};
use crate::{job, signals};

/// Without anybody connected for this long it ends: whoever armed it is gone.
const ALONE: Duration = Duration::from_secs(10);
/// Pictures of the screen captured a second while nothing is encoded: enough for a fresh first picture.
const IDLE_PACE: u32 = 5;

/// Waits for a job, and records it.
pub fn run(armed: &Armed) -> anyhow::Result<()> {
    signals::watch()?;
    let link = Link::open(&armed.socket_path, Event::Armed { pid: std::process::id() })?;
    told(&link, || {
        let ring = (armed.ring_s > 0).then(|| Duration::from_secs(armed.ring_s.into()));
        let mut session = Session::open(&armed.capture, &link, ring)?;
        let outcome = wait(&mut session, &link, &armed.capture, ring.is_some()).and_then(|job| match job {
            Some(job) => {
                job::check_job(&job)?;
                ensure!(job.capture == armed.capture, "the job is not what this recorder was armed for");
                lectern_base::log::always("LESSON", job.lesson_id.as_str());
                link.moves_to(&job.socket_path, hello(&job))?;
                session.begin(&job)?;
                session.record(&job)
            }
            None => Ok(()),
        });
        session.close_sources();
        session.close_live();
        outcome
    })
}

/// Until there is a job, or nobody needs this recorder any more.
fn wait(
    session: &mut Session<'_>,
    link: &Link,
    capture: &CaptureSettings,
    ring: bool,
) -> anyhow::Result<Option<Job>> {
    let mut looking: Option<Looking> = None;
    if ring {
        session.wait_for_picture();
        session.start_clock();
    } else {
        session.idle(IDLE_PACE);
    }
    let (mut told, mut heard) = (Duration::ZERO, clock::mono());
    while !signals::terminated() {
        let command = if ring {
            session.turn()?;
            link.commands.try_recv().ok()
        } else {
            session.forget();
            link.commands.recv_timeout(Duration::from_millis(20)).ok()
        };
        match command {
            Some(Command::Start { job }) => return Ok(Some(*job)),
            Some(Command::Stop) => return Ok(None),
            Some(Command::Preflight) => looking = Some(Looking::begin(capture, session.running().map(Some))?),
            _ => {}
        }
        if let Some(look) = &mut looking
            && let Some(found) = look.step(capture, session.running().map(Some))?
        {
            link.speaker.say(&Event::Preflight { found });
            looking = None;
        }
        let now = clock::mono();
        if now.saturating_sub(told) >= Duration::from_secs(1) {
            told = now;
            link.speaker.say(&Event::Armed { pid: std::process::id() });
        }
        if link.speaker.heard() {
            heard = now;
        } else if now.saturating_sub(heard) > ALONE {
            tracing::info!("nobody is connected any more");
            return Ok(None);
        }
    }
    Ok(None)
}
