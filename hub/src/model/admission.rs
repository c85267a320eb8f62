//! Who may send a part now, so that sixty rooms do not start at the bell.
//!
//! A bounded number of parts is on its way over all rooms. A room that has to wait is told when to ask again, and
//! is remembered while it does:
//! 1. Lessons of now go before lessons of earlier days.
//! 2. Among equals nobody passes one who has waited clearly longer; a place is not kept empty for the order's sake.
//! 3. While others wait nobody has more than an equal share.
//! 4. While nobody waits, a room whose part is on its way may have the leave for its next one ahead: it takes no place
//!    until its bytes come, and they come when the others' are out.
//!
//! A grant that is not used soon gives its place back. Pure: told the time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use lectern_wire::id::{DeviceId, LessonId};

/// A grant that was not used for this long gives its place back.
const UNUSED: Duration = Duration::from_secs(20);
/// So much longer is clearly longer.
const PATIENT: Duration = Duration::from_secs(1);
/// Longest wait a room is told.
const MOST_WAIT: Duration = Duration::from_secs(10);

/// A part: lesson, take and number.
pub type Part = (LessonId, u32, u32);

/// What a room is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Send it.
    Come,
    /// Ask again after so long; so many rooms are ahead.
    Wait(Duration, usize),
}

#[derive(Debug)]
struct Place {
    /// None when the grant is from before a restart, or its place was given back.
    device: Option<DeviceId>,
    /// None while its body arrives.
    granted: Option<Duration>,
}

#[derive(Debug)]
struct Waiting {
    since: Duration,
    live: bool,
    /// Who does not ask again by then has gone.
    until: Duration,
}

/// The places and who waits for one.
#[derive(Debug)]
pub struct Admission {
    most: usize,
    places: HashMap<Part, Place>,
    waiting: HashMap<DeviceId, Waiting>,
}

impl Admission {
    /// So many parts at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), places: HashMap::new(), waiting: HashMap::new() }
    }

    /// A room asks for leave to send a part.
    pub fn ask(&mut self, device: &DeviceId, part: &Part, live: bool, now: Duration) -> Told {
        self.places.retain(|_, place| place.granted.is_none_or(|at| now.saturating_sub(at) < UNUSED));
        self.waiting.retain(|_, waiting| now < waiting.until);
        if let Some(place) = self.places.get_mut(part) {
            place.granted = place.granted.map(|_| now);
            return Told::Come;
        }
        let since = self.waiting.get(device).map_or(now, |waiting| waiting.since);
        let ahead = self.waiting.iter().filter(|(other, waiting)| {
            *other != device && (waiting.live, live) != (false, true) && {
                waiting.live != live || waiting.since + PATIENT < since
            }
        });
        let ahead = ahead.count();
        let free = self.most.saturating_sub(self.taken());
        let mine = self.places.values().filter(|place| place.device.as_ref() == Some(device)).count();
        let others = self.waiting.keys().filter(|other| *other != device).count();
        let fair = others == 0 || mine < self.share(device);
        let next = others == 0 && mine > 0 && !self.unused().any(|id| id == device);
        if (free > ahead && fair) || next {
            self.waiting.remove(device);
            self.places.insert(part.clone(), Place { device: Some(device.clone()), granted: Some(now) });
            return Told::Come;
        }
        let wait = Duration::from_secs(1 + (ahead / self.most) as u64 * 2).min(MOST_WAIT);
        // A room that is jittered and slow is still waiting.
        let until = now + wait * 3 + Duration::from_secs(2);
        // Who has a part on its way does not wait for a first one.
        if mine == 0 {
            self.waiting.insert(device.clone(), Waiting { since, live, until });
        }
        Told::Wait(wait, ahead)
    }

    /// Whose leave is not used yet.
    fn unused(&self) -> impl Iterator<Item = &DeviceId> {
        self.places.values().filter(|place| place.granted.is_some()).filter_map(|place| place.device.as_ref())
    }

    /// Places that are taken: all but one leave ahead of each room whose part is on its way.
    fn taken(&self) -> usize {
        let on_its_way: HashSet<_> =
            self.places.values().filter(|p| p.granted.is_none()).filter_map(|p| p.device.as_ref()).collect();
        let ahead: HashSet<_> = self.unused().filter(|id| on_its_way.contains(id)).collect();
        self.places.len() - ahead.len()
    }

    /// An equal share of the places among all who have or want one.
    fn share(&self, device: &DeviceId) -> usize {
        let mut rooms: Vec<_> = self.places.values().filter_map(|place| place.device.as_ref()).collect();
        rooms.extend(self.waiting.keys());
        rooms.push(device);
        rooms.sort_unstable_by_key(|id| id.as_str());
        rooms.dedup();
        (self.most / rooms.len()).max(1)
    }

    /// A part's body begins to arrive.
    pub fn began(&mut self, part: &Part) {
        let place = self.places.entry(part.clone()).or_insert(Place { device: None, granted: None });
        place.granted = None;
    }

    /// It has ended, well or not.
    pub fn ended(&mut self, part: &Part) {
        self.places.remove(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: usize) -> DeviceId {
        DeviceId::new(format!("room-{n}")).expect("id")
    }

    fn part(room: usize, n: u32) -> Part {
        (LessonId::new(format!("l{room}")).expect("id"), 1, n)
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn sixty_rooms_at_the_bell_are_let_in_a_few_at_a_time_and_all_in_the_end() {
        let mut hub = Admission::new(16);
        let (mut sent, mut next) = ([0_u32; 60], [Duration::ZERO; 60]);
        let mut under_way: Vec<(Duration, usize, u32)> = Vec::new();
        for tenth in 0..20_000_u32 {
            let now = Duration::from_millis(100) * tenth;
            under_way.retain(|&(end, room, n)| {
                if end <= now {
                    hub.ended(&part(room, n));
                    sent[room] += 1;
                }
                end > now
            });
            // Every room has ten parts and sends one at a time.
            for room in 0..60 {
                let busy = under_way.iter().any(|&(_, r, _)| r == room);
                if busy || sent[room] == 10 || now < next[room] {
                    continue;
                }
                match hub.ask(&device(room), &part(room, sent[room]), true, now) {
                    Told::Come => {
                        hub.began(&part(room, sent[room]));
                        under_way.push((now + s(1), room, sent[room]));
                    }
                    Told::Wait(wait, _) => next[room] = now + wait,
                }
            }
            assert!(under_way.len() <= 16);
            let (least, most) = (sent.iter().min(), sent.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 4), "{sent:?}");
            if sent == [10; 60] {
                assert!(now < s(60), "it took {now:?}, sixteen at a time would take 38 s");
                return;
            }
        }
        panic!("{sent:?}");
    }

    #[test]
    fn a_lesson_of_now_goes_before_one_of_yesterday() {
        let mut hub = Admission::new(1);
        assert_eq!(hub.ask(&device(1), &part(1, 0), false, s(0)), Told::Come);
        hub.began(&part(1, 0));
        assert!(matches!(hub.ask(&device(2), &part(2, 0), false, s(1)), Told::Wait(_, 0)));
        assert!(matches!(hub.ask(&device(3), &part(3, 0), true, s(2)), Told::Wait(_, 0)), "nobody is ahead");
        hub.ended(&part(1, 0));
        assert!(matches!(hub.ask(&device(2), &part(2, 0), false, s(3)), Told::Wait(_, 1)));
        assert_eq!(hub.ask(&device(3), &part(3, 0), true, s(3)), Told::Come);
    }

    #[test]
    fn alone_a_room_may_have_every_place_and_gives_them_back_when_others_come() {
        let mut hub = Admission::new(4);
        for n in 0..4 {
            assert_eq!(hub.ask(&device(1), &part(1, n), true, s(0)), Told::Come);
            hub.began(&part(1, n));
        }
        assert!(matches!(hub.ask(&device(2), &part(2, 0), true, s(1)), Told::Wait(..)));
        hub.ended(&part(1, 0));
        assert!(matches!(hub.ask(&device(1), &part(1, 4), true, s(1)), Told::Wait(..)), "another waits");
        assert_eq!(hub.ask(&device(2), &part(2, 0), true, s(2)), Told::Come);
    }

    #[test]
    fn leave_ahead_takes_no_place_and_is_given_only_while_nobody_waits() {
        let mut hub = Admission::new(2);
        for room in [1, 2] {
            assert_eq!(hub.ask(&device(room), &part(room, 0), true, s(0)), Told::Come);
            hub.began(&part(room, 0));
        }
        // All places are taken, and each has its next leave; but one.
        for room in [1, 2] {
            assert_eq!(hub.ask(&device(room), &part(room, 1), true, s(1)), Told::Come);
            assert!(
                matches!(hub.ask(&device(room), &part(room, 2), true, s(1)), Told::Wait(..)),
                "one ahead"
            );
        }
        assert!(matches!(hub.ask(&device(3), &part(3, 0), true, s(2)), Told::Wait(..)));
        // From part to part without a wait. Then another waits, and has the place that becomes free.
        hub.ended(&part(1, 0));
        hub.began(&part(1, 1));
        assert!(matches!(hub.ask(&device(1), &part(1, 2), true, s(2)), Told::Wait(..)), "another waits");
        hub.ended(&part(1, 1));
        assert_eq!(hub.ask(&device(3), &part(3, 0), true, s(3)), Told::Come);
    }

    #[test]
    fn a_grant_that_is_not_used_and_a_room_that_went_away_hold_nobody_up() {
        let mut hub = Admission::new(1);
        assert_eq!(hub.ask(&device(1), &part(1, 0), true, s(0)), Told::Come);
        assert!(matches!(hub.ask(&device(2), &part(2, 0), true, s(1)), Told::Wait(..)));
        // Room 1 never sends, room 2 never asks again.
        assert_eq!(hub.ask(&device(3), &part(3, 0), true, s(30)), Told::Come);
        assert_eq!(hub.ask(&device(3), &part(3, 0), true, s(31)), Told::Come, "asked twice, one place");
        assert_eq!((hub.places.len(), hub.waiting.len()), (1, 0));
    }
}
