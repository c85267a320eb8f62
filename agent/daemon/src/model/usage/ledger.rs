//! What was seen of the room, second by second, kept by clocks that only go forward.
//!
//! ```text
//! boot a: |unseen|--seen--|asleep|--seen--|        cut or shut down
//! boot b:                                     off   |--seen--|unseen|--seen--|
//! wall:   ─────────────── where all that lies in the day is decided by the newest clock of each boot
//! ```
//!
//! Spans are counted since their boot, so a step of the wall clock moves none of them against another: a machine that
//! wakes up in 2013 and learns the time twenty minutes later has its twenty minutes in the right period. A period is
//! judged second by second; a second that two boots claim belongs to the later one, so none is ever counted twice.

use lectern_wire::id::LessonId;
use serde::{Deserialize, Serialize};

/// A look is expected about this often, milliseconds; one that follows a longer pause vouches for no more than this.
pub const LOOK_EVERY_MS: u64 = 15_000;
/// A pause between two looks that is still seen as one; a busy machine is late.
const STALE_MS: u64 = 4 * LOOK_EVERY_MS;
/// How long before the last look that was kept a machine without a word of farewell may have been cut off.
pub const CUT_MARGIN_MS: i64 = 90_000;
/// Clocks that disagree by less do not mean that the machine slept.
const SLEPT_MS: u64 = 2_000;
/// Most spans that are kept; the oldest go, and what they said is unknown.
const MOST_SPANS: usize = 1_500;
/// Most boots that are kept.
const MOST_BOOTS: usize = 100;

/// What was so for a while. The default: the machine was on, and nothing else is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Whether a display was awake; none when nobody knows.
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    pub display: Option<bool>,
    /// Whether there was input a moment ago; none when nobody knows.
    #[serde(rename = "i", skip_serializing_if = "Option::is_none")]
    pub input: Option<bool>,
    /// Category of the application in the foreground, where the school wants to know.
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Whether that category is teaching.
    #[serde(rename = "t", skip_serializing_if = "std::ops::Not::not")]
    pub teaching: bool,
    /// What was being recorded; none while it stood still.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub recording: Option<LessonId>,
    /// Whether the machine was suspended.
    #[serde(rename = "z", skip_serializing_if = "std::ops::Not::not")]
    pub asleep: bool,
}

impl Seen {
    /// Input, or a teaching activity in the foreground.
    #[must_use]
    pub fn active(&self) -> Option<bool> {
        if self.asleep {
            return Some(false);
        }
        if self.teaching { Some(true) } else { self.input }
    }

    /// Whether it counts as use. A recording does by itself: a teacher pressed the button, and a recording box may have no
    /// display at all. Otherwise an awake display and activity must come together; what is not known stays unknown only
    /// where it could make the difference.
    #[must_use]
    pub fn used(&self) -> Option<bool> {
        if self.asleep {
            return Some(false);
        }
        if self.recording.is_some() {
            return Some(true);
        }
        match (self.display, self.active()) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }
}

/// From when to when something was so, milliseconds since its boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    from: u64,
    to: u64,
    seen: Seen,
}

/// How the agent's last run in a boot ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It runs, or ended without a word: the mains were cut.
    #[default]
    Open,
    /// The machine was shut down.
    Shutdown,
    /// Only the agent was stopped: what the machine did afterwards nobody knows.
    Stopped,
}

/// One boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Boot {
    id: String,
    /// How far the wall clock is ahead of the time since boot; none while no clock could be believed.
    pub(super) ahead: Option<i64>,
    /// The last look: time since boot, and the part of it the machine was awake.
    at: u64,
    awake: u64,
    end: End,
    spans: Vec<Span>,
}

/// A moment by all clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment<'a> {
    /// Which boot.
    pub boot_id: &'a str,
    /// Milliseconds since boot, sleep included.
    pub boot_ms: u64,
    /// Milliseconds since boot without sleep.
    pub awake_ms: u64,
    /// Unix milliseconds; none while the clock cannot be believed.
    pub wall_ms: Option<i64>,
}

/// What a period came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Seconds that count as use.
    pub used_s: u32,
    /// Seconds with input or teaching in the foreground.
    pub active_s: u32,
    /// Seconds with a display awake.
    pub display_on_s: u32,
    /// Seconds recorded.
    pub recorded_s: u32,
    /// Seconds of which it is known whether they count.
    pub known_s: u32,
    /// Seconds the machine was on and awake.
    pub powered_s: u32,
    /// Seconds by category in the foreground.
    pub categories: std::collections::BTreeMap<String, u32>,
    /// Seconds by lesson, in the order they were recorded.
    pub lessons: Vec<(LessonId, u32)>,
    /// First and last moment of use, Unix milliseconds.
    pub actual_ms: Option<(i64, i64)>,
}

/// The ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Since when there is one, Unix milliseconds: what was before is not for this agent to say.
    since: Option<i64>,
    boots: Vec<Boot>,
}

impl Ledger {
    /// Since when it knows anything, Unix milliseconds.
    #[must_use]
    pub fn since_ms(&self) -> Option<i64> {
        self.since
    }

    /// Notes what is so since the last look.
    pub fn look(&mut self, now: Moment<'_>, seen: Seen) {
        if self.boots.last().is_none_or(|boot| boot.id != now.boot_id) {
            let mut boot = Boot {
                id: now.boot_id.to_owned(),
                ahead: None,
                at: now.boot_ms,
                awake: now.awake_ms,
                end: End::Open,
                spans: Vec::new(),
            };
            // Before the agent came the machine was on; nobody looked. Whether it slept in between can be told only when
            // it never did.
            if now.boot_ms.saturating_sub(now.awake_ms) < SLEPT_MS {
                boot.add(0, now.boot_ms, Seen::default());
            }
            self.boots.push(boot);
            let surplus = self.boots.len().saturating_sub(MOST_BOOTS);
            self.boots.drain(..surplus);
        }
        let Some(boot) = self.boots.last_mut() else { return };
        boot.end = End::Open;
        if let Some(wall) = now.wall_ms {
            boot.ahead = Some(wall - now.boot_ms.cast_signed());
            self.since.get_or_insert(wall);
        }
        let (mut from, to) = (boot.at, now.boot_ms.max(boot.at));
        let awake = now.awake_ms.saturating_sub(boot.awake);
        let slept = (to - from).saturating_sub(awake);
        if slept >= SLEPT_MS {
            boot.add(from, from + slept, Seen { asleep: true, ..Seen::default() });
            from += slept;
        }
        if to - from > STALE_MS {
            boot.add(from, to - LOOK_EVERY_MS, Seen::default());
            from = to - LOOK_EVERY_MS;
        }
        boot.add(from, to, seen);
        (boot.at, boot.awake) = (to, now.awake_ms.max(boot.awake));
        let surplus = boot.spans.len().saturating_sub(MOST_SPANS);
        boot.spans.drain(..surplus);
    }

    /// Notes how the run of the agent ends.
    pub fn end(&mut self, end: End) {
        if let Some(boot) = self.boots.last_mut() {
            boot.end = end;
        }
    }

    /// Forgets what lies before a moment, Unix milliseconds.
    pub fn forget_before(&mut self, wall_ms: i64) {
        for boot in &mut self.boots {
            if let Some(ahead) = boot.ahead {
                boot.spans.retain(|span| span.to.cast_signed() + ahead > wall_ms);
            }
        }
        while self.boots.get(1).and_then(|next| next.ahead).is_some_and(|began| began <= wall_ms) {
            self.boots.remove(0);
        }
    }

    /// Its boots, for tests that spoil them.
    #[cfg(test)]
    pub(super) fn boots_mut(&mut self) -> &mut Vec<Boot> {
        &mut self.boots
    }

    /// When a machine that is off was off for certain, Unix milliseconds, oldest first.
    fn off(&self) -> impl Iterator<Item = (i64, i64)> {
        self.boots.windows(2).filter_map(|pair| {
            let margin = match pair[0].end {
                End::Open => CUT_MARGIN_MS,
                End::Shutdown => 0,
                End::Stopped => return None,
            };
            // A boot whose clock never could be believed lies somewhere in between: then nothing is certain.
            Some((pair[0].ahead? + pair[0].at.cast_signed() + margin, pair[1].ahead?))
        })
    }

    /// What a period came to. `off_is_known`: a machine that does not run this system is off, and does not run another.
    #[must_use]
    pub fn sums(&self, start_ms: i64, end_ms: i64, off_is_known: bool) -> Sums {
        let length = usize::try_from((end_ms - start_ms) / 1000).unwrap_or(0);
        // Each second by its middle; spans meet, so that every second is one span's.
        let seconds = |from: i64, to: i64| {
            let index = |ms: i64| {
                usize::try_from((ms - start_ms + 500).div_euclid(1000).max(0)).unwrap_or(0).min(length)
            };
            index(from)..index(to)
        };
        let mut cells: Vec<Cell<'_>> = vec![Cell::Unseen; length];
        let paint = |cells: &mut Vec<Cell<'_>>, from, to| -> std::ops::Range<usize> {
            let range = seconds(from, to);
            if range.start < range.end && range.end <= cells.len() { range } else { 0..0 }
        };
        if off_is_known {
            for (from, to) in self.off() {
                let range = paint(&mut cells, from, to);
                cells[range].fill(Cell::Off);
            }
        }
        for boot in &self.boots {
            let Some(ahead) = boot.ahead else { continue };
            for span in &boot.spans {
                let range = paint(&mut cells, span.from.cast_signed() + ahead, span.to.cast_signed() + ahead);
                cells[range].fill(Cell::Seen(&span.seen));
            }
        }
        sum(&cells, start_ms)
    }
}

impl Boot {
    fn add(&mut self, from: u64, to: u64, seen: Seen) {
        if from >= to {
            return;
        }
        match self.spans.last_mut() {
            Some(last) if last.to == from && last.seen == seen => last.to = to,
            _ => self.spans.push(Span { from, to, seen }),
        }
    }
}

/// One second of a period.
#[derive(Debug, Clone, Copy)]
enum Cell<'a> {
    Unseen,
    Off,
    Seen(&'a Seen),
}

fn sum(cells: &[Cell<'_>], start_ms: i64) -> Sums {
    let mut sums = Sums::default();
    for (n, cell) in cells.iter().enumerate() {
        let seen = match cell {
            Cell::Unseen => continue,
            Cell::Off => {
                sums.known_s += 1;
                continue;
            }
            Cell::Seen(seen) => *seen,
        };
        sums.known_s += u32::from(seen.used().is_some());
        sums.powered_s += u32::from(!seen.asleep);
        sums.active_s += u32::from(seen.active() == Some(true));
        sums.display_on_s += u32::from(seen.display == Some(true) && !seen.asleep);
        if let Some(category) = &seen.category {
            *sums.categories.entry(category.clone()).or_default() += 1;
        }
        if let Some(lesson) = &seen.recording {
            sums.recorded_s += 1;
            match sums.lessons.iter_mut().find(|(id, _)| id == lesson) {
                Some((_, s)) => *s += 1,
                None => sums.lessons.push((lesson.clone(), 1)),
            }
        }
        if seen.used() == Some(true) {
            sums.used_s += 1;
            let at = start_ms + i64::try_from(n).unwrap_or(0) * 1000;
            let first = sums.actual_ms.map_or(at, |(first, _)| first);
            sums.actual_ms = Some((first, at + 1000));
        }
    }
    sums
}
