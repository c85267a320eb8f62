//! The way out of this house: connections, their pace, and the question that keeps the pace polite.

use std::sync::Arc;
use std::time::Duration;

use lectern_base::clock;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::line::{Lines, Proxy};
use super::manners::{ASK_EVERY, LOST, Manners};
use super::pace::Pace;
use crate::platform::tls::Trust;

/// After so long without a part the last answers say nothing any more.
const RESTED: Duration = Duration::from_secs(5);

/// Shared by everything that sends parts.
pub struct Road {
    /// Connections.
    pub lines: Lines,
    /// What may go when.
    pub pace: Arc<Pace>,
}

impl Road {
    /// A road on which nothing goes yet.
    pub fn new(proxy: Option<Proxy>, hub: Option<(Url, Arc<Trust>)>) -> Self {
        Self { lines: Lines::new(proxy, hub), pace: Arc::default() }
    }

    /// Asks the other end while parts are under way, and sets the pace by its answers, until told to stop.
    ///
    /// Any answer will do, a refusal too: it is the way that is measured.
    pub async fn keep_manners(&self, ask: &Url, stop: &CancellationToken) {
        let mut manners = Manners::default();
        self.pace.set_manners(manners.rate());
        let mut tick = tokio::time::interval(ASK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut busy = clock::mono();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let asked = clock::mono();
            if self.pace.is_busy() {
                busy = asked;
            } else {
                if asked.saturating_sub(busy) > RESTED {
                    manners.rested();
                    // Asleep until there is something to ask about.
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.pace.begins() => busy = clock::mono(),
                    }
                }
                continue;
            }
            // A question that failed is a queue so long that it was lost.
            let answer = tokio::time::timeout(LOST, self.lines.get(ask)).await;
            let now = clock::mono();
            let rtt = if matches!(answer, Ok(Ok(_))) { now.saturating_sub(asked) } else { LOST };
            manners.answered(now, rtt, self.pace.moved());
            self.pace.set_manners(manners.rate());
        }
    }
}
