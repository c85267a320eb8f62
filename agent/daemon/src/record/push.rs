//! 直播, by the teacher's choice alone: asked for with the press or during the lesson, never by anybody else, and kept
//! to for as long as the lesson lasts, whatever becomes of its recorder.

use lectern_wire::id::LessonId;
use lectern_wire::live::{Live as Target, LiveState};
use lectern_wire::recorder::Command as Order;

use super::driver::Driver;
use super::{Answer, no};
use crate::model::lesson::{Admission, Request, admit};

/// The fact that names the lesson that is sent live.
const LIVE: &str = "live";

impl Driver {
    /// The answer to a wish to go live where there is nowhere to.
    pub(super) fn nowhere() -> Answer {
        no("no_live", "no live server is set: the address belongs in the settings, [live] url")
    }

    /// Sends the lesson live from now on, or no more.
    pub(super) async fn send_live(&mut self, on: bool) -> Answer {
        if on && self.settings.live.is_none() {
            return Self::nowhere();
        }
        if let Admission::No(because) = admit(self.live_state(), Request::Live) {
            return super::driver::refuse(because);
        }
        let Some(live) = &mut self.live else {
            return no("nothing_records", "nothing is being recorded");
        };
        let id = live.id.clone();
        if live.sent == on {
            return Answer::Already(Some(id));
        }
        live.sent = on;
        self.remember_live(on.then_some(&id));
        self.order(&Order::Live { on }).await;
        Answer::Done(Some(id))
    }

    /// Kept over a restart of the daemon.
    pub(super) fn remember_live(&self, id: Option<&LessonId>) {
        if let Err(e) = self.store.set_fact(LIVE, id.map_or("", LessonId::as_str)) {
            tracing::error!("the wish to go live could not be noted: {e}");
        }
    }

    /// Whether the lesson was being sent live when the daemon before this one ended.
    pub(super) fn was_live(&self, id: &LessonId) -> bool {
        self.store.fact(LIVE).is_ok_and(|fact| fact.is_some_and(|fact| fact == id.as_str()))
    }

    /// What the next recorder is told of it.
    pub(super) fn live_target(&self, on: bool) -> Option<Target> {
        self.settings.live.as_ref().map(|live| Target { url: live.url.clone(), on })
    }

    /// The recorder says where it stands.
    pub(super) fn live_stands(&self, state: LiveState, cause: &str) {
        if self.store.board().read().live == state {
            return;
        }
        self.store.board().update(|s| s.live = state);
        let Some(live) = &self.live else { return };
        // A thin line flickers; that is for the page.
        if state != LiveState::Slow {
            let data = serde_json::json!({ "lesson_id": live.id, "state": state, "cause": cause });
            self.store.outbox().push_event("live", &data);
            self.store.bells().publish.notify_one();
        }
    }
}
