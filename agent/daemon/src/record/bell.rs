//! The school's bell: which period is on, and the end of a lesson that nobody ended.

use std::time::Duration;

use jiff::SignedDuration;
use lectern_base::clock;
use lectern_wire::manifest::About;
use lectern_wire::recorder::Command as Order;

use super::driver::{Driver, millis};
use crate::model::answer::{Answer, no};
use crate::model::lesson::Request;
use crate::model::timetable::{Bell, Slot};
use crate::platform::rest;

/// How long before its bell a period is shown and can be begun.
const EARLY: SignedDuration = SignedDuration::from_mins(10);
/// A second wish to put the end off within so long is the same wish: a double click, or page and CLI at once.
const SAME_WISH: Duration = Duration::from_secs(3);
/// How often the timetable is looked at, at least when a period is about to begin or end.
pub(super) const EVERY: Duration = Duration::from_secs(2);

impl Driver {
    /// The period that is on or about to begin; none while the clock cannot be believed.
    pub(super) fn slot(&self) -> Option<Slot> {
        self.slot_in(Duration::ZERO)
    }

    fn slot_in(&self, ahead: Duration) -> Option<Slot> {
        let table = self.store.timetable()?;
        if !clock::plausible() {
            return None;
        }
        let ahead = i64::try_from(ahead.as_millis()).unwrap_or(0);
        table.at(&clock::local(clock::wall_ms() + ahead), EARLY)
    }

    /// Shows the period on the board, now and then.
    pub(super) fn show_slot(&mut self, now: Duration) {
        if self.slot_shown.is_some_and(|at| now.saturating_sub(at) < EVERY) {
            return;
        }
        self.slot_shown = Some(now);
        let slot = self.slot();
        self.slot_turns = self.slot_in(rest::STEP * 2) != slot;
        self.store.board().update(|s| s.slot = slot);
    }

    /// When a lesson begun now is to end by itself, if ever.
    pub(super) fn bell_of(&self, slot: Option<&Slot>) -> Option<Bell> {
        let grace = self.settings.end_after_bell?;
        let until_ms = u64::try_from(slot?.end_ms - clock::wall_ms()).ok()?;
        Some(Bell::after(millis(clock::boot()), until_ms, millis(grace)))
    }

    /// Ends the lesson when its time is over.
    pub(super) async fn ring(&mut self) {
        let Some(live) = &self.live else { return };
        let (Some(bell), None) = (live.bell, live.stopping) else { return };
        let now = millis(clock::boot());
        self.store.board().update(|s| {
            if let Some(lesson) = &mut s.lesson {
                lesson.counts_down = bell.counts_down(now);
            }
        });
        if now >= bell.ends_ms {
            tracing::info!(lesson = %live.id, "the bell has rung and nobody put the end off: the lesson is ended");
            self.request(Request::Stop, Order::Stop).await;
        }
    }

    /// 再录 10 分钟.
    pub(super) fn extend(&mut self) -> Answer {
        let Some(live) = &mut self.live else {
            return no("nothing_records", "nothing is being recorded");
        };
        let Some(bell) = live.bell else {
            return no("no_bell", "no bell ends this lesson; it goes on until it is stopped");
        };
        let now = clock::mono();
        if live.put_off.is_some_and(|at| now.saturating_sub(at) < SAME_WISH) {
            return Answer::Already(Some(live.id.clone()));
        }
        let later = bell.put_off(millis(clock::boot()));
        if let Err(e) = self.store.set_bell(&live.id, later) {
            return no("failed", e.to_string());
        }
        live.bell = Some(later);
        live.put_off = Some(now);
        let id = live.id.clone();
        self.store.board().update(|s| {
            if let Some(lesson) = &mut s.lesson {
                lesson.bell = Some(later);
            }
        });
        Answer::Done(Some(id))
    }
}

/// What the teacher said, and what the timetable knows where the teacher said nothing.
pub(super) fn completed(said: About, planned: Option<&About>) -> About {
    let Some(planned) = planned else { return said };
    let or = |said: String, planned: &String| if said.is_empty() { planned.clone() } else { said };
    // Another teacher or class than planned: the plan does not hold, only the period does.
    let other = |said: &String, planned: &String| !said.is_empty() && !planned.is_empty() && said != planned;
    if other(&said.teacher, &planned.teacher) || other(&said.class, &planned.class) {
        return About { period: or(said.period.clone(), &planned.period), ..said };
    }
    About {
        teacher_id: or(said.teacher_id, &planned.teacher_id),
        teacher: or(said.teacher, &planned.teacher),
        class: or(said.class, &planned.class),
        subject: or(said.subject, &planned.subject),
        topic: or(said.topic, &planned.topic),
        period: or(said.period, &planned.period),
        scheme_point: said.scheme_point,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timetable_fills_in_what_the_teacher_left_open() {
        let about = |teacher: &str, subject: &str, period: &str| About {
            teacher: teacher.into(),
            subject: subject.into(),
            period: period.into(),
            ..About::default()
        };
        let planned = about("张老师", "语文", "第3节");
        assert_eq!(completed(About::default(), Some(&planned)), planned);
        assert_eq!(completed(about("", "数学", ""), Some(&planned)), about("张老师", "数学", "第3节"));
        assert_eq!(completed(about("李老师", "", ""), Some(&planned)), about("李老师", "", "第3节"));
        assert_eq!(completed(about("李老师", "", ""), None), about("李老师", "", ""));
    }
}
