//! Lessons whose receipt was refused because of what they or the hub's log are: nothing here changes that, and somebody who
//! looks after it needs no answer within seconds. They are tried again, ever less often.

use std::collections::BTreeMap;
use std::time::Duration;

use lectern_wire::id::LessonId;

/// Between the first two tries.
const FIRST: Duration = Duration::from_secs(30);
/// Between two tries at most: what was mended at the hub is noticed within it.
const MOST: Duration = Duration::from_secs(300);

/// When each is tried again, and how long it waited for that. Pure: told the time.
#[derive(Debug, Default)]
pub struct Refused(BTreeMap<LessonId, (Duration, Duration)>);

impl Refused {
    /// It was refused.
    pub fn add(&mut self, lesson: &LessonId, now: Duration) {
        let wait = self.0.get(lesson).map_or(FIRST, |(_, wait)| (*wait * 2).min(MOST));
        self.0.insert(lesson.clone(), (now + wait, wait));
    }

    /// Whether it is too early to try again.
    pub fn waits(&self, lesson: &LessonId, now: Duration) -> bool {
        self.0.get(lesson).is_some_and(|(until, _)| now < *until)
    }

    /// It was refused no more.
    pub fn forget(&mut self, lesson: &LessonId) {
        self.0.remove(lesson);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_tried_again_ever_less_often_but_within_minutes() {
        let (lesson, other) = (LessonId::new("a").expect("id"), LessonId::new("b").expect("id"));
        let (mut refused, mut now, mut tries) = (Refused::default(), Duration::ZERO, Vec::new());
        while now < Duration::from_secs(3600) {
            if !refused.waits(&lesson, now) {
                tries.push(now.as_secs());
                refused.add(&lesson, now);
            }
            now += Duration::from_secs(1);
        }
        assert_eq!(tries[..6], [0, 30, 90, 210, 450, 750]);
        assert!(tries.windows(2).all(|two| two[1] - two[0] <= 300), "{tries:?}");
        assert!(!refused.waits(&other, now));
        refused.forget(&lesson);
        assert!(!refused.waits(&lesson, now));
    }
}
