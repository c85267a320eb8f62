//! 使用: whether a period was used, and its row in the register.
//!
//! ```text
//! looks ──▶ Ledger (spans, by boot) ──bell──▶ Sums ──rule──▶ used │ not │ unknown ──▶ Usage (the row)
//! ```
//!
//! The rule: at least [`Rule::needed_s`] seconds that count as use. What was not seen is unknown: when it could have made
//! up what is missing, so is the period.

mod ledger;
#[cfg(test)]
mod tests;

use jiff::Zoned;
use jiff::civil::Date;
use lectern_wire::alarm::Code;
use lectern_wire::manifest::About;
use lectern_wire::usage::{MAX_CHARS, MAX_ENTRIES, OPEN_DAYS, Source, Usage, Used};

pub use lectern_wire::usage::word::{Refused, Word, open, said};

pub use ledger::{End, LOOK_EVERY_MS, Ledger, Moment, Seen, Sums};

use super::timetable::{Slot, Timetable};

/// When a period counts as used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Seconds of use it takes.
    pub needed_s: u32,
    /// For how long an input counts, milliseconds.
    pub input_counts_ms: u64,
    /// Whether a machine that does not run this system is off; not so where it also starts another one.
    pub off_is_known: bool,
}

/// A category of applications, by the names their windows give themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Part of the program's or the window class's name, in lower case.
    pub name: String,
    /// What it is counted as.
    pub category: String,
    /// Whether it is a teaching activity by itself.
    pub teaching: bool,
}

/// Who is at the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// Sessions with a desktop; none when the login service could not be asked.
    pub sessions: Option<u32>,
    /// Why it could not.
    pub unasked: Option<String>,
    /// Sessions in which the helper runs.
    pub helpers: u32,
    /// Milliseconds since the last input, by the helpers.
    pub idle_ms: Option<u64>,
    /// Whether there was input a moment ago; none when nobody knows.
    pub input: Option<bool>,
    /// Whether a display is awake; none when nobody knows.
    pub display: Option<bool>,
    /// Why something of this is not known, in a sentence.
    pub why: Option<String>,
}

/// A session as two tell of it: the login service, and the helper inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct At {
    /// Whose.
    pub uid: u32,
    /// Whether it is shown and not locked: what goes on in another is nobody's work at this machine.
    pub shown: bool,
    /// Whether its desktop told the login service that nobody is there.
    pub idle: bool,
}

/// Whether there was input a moment ago. `sessions`: what the login service says; none when it could not be asked.
/// `helpers`: by user, milliseconds since the last input, where the desktop tells.
#[must_use]
pub fn input(sessions: Option<&[At]>, helpers: &[(u32, Option<u64>)], counts_ms: u64) -> Option<bool> {
    let told = |uid: u32| {
        let idles = helpers.iter().filter(|(of, _)| *of == uid).filter_map(|(_, idle)| *idle);
        idles.min().map(|idle| idle < counts_ms)
    };
    let of_session = |at: &At| {
        if !at.shown {
            return Some(false);
        }
        told(at.uid).or_else(|| at.idle.then_some(false))
    };
    let known = sessions.unwrap_or_default();
    // A helper in a session the login service knows nothing of, as in a container.
    let others = helpers.iter().filter(|(uid, _)| known.iter().all(|at| at.uid != *uid));
    let words: Vec<Option<bool>> =
        known.iter().map(of_session).chain(others.map(|(uid, _)| told(*uid))).collect();
    if words.contains(&Some(true)) {
        Some(true)
    } else if words.contains(&None) || sessions.is_none() && words.is_empty() {
        None
    } else {
        Some(false)
    }
}

/// A period of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// The day.
    pub date: Date,
    /// 周次.
    pub week: Option<u32>,
    /// Its place in the day, from 1.
    pub ordinal: u32,
    /// Bells and plan.
    pub slot: Slot,
}

impl Period {
    /// Whether a lesson is planned in it.
    #[must_use]
    pub fn planned(&self) -> bool {
        let About { class, subject, teacher, teacher_id, .. } = &self.slot.about;
        [class, subject, teacher, teacher_id].into_iter().any(|text| !text.is_empty())
    }
}

/// The periods that ended within `(after_ms, now]`, oldest first, at most a week back; and when the next one ends, Unix
/// milliseconds, if one does within a day.
#[must_use]
pub fn ended(table: &Timetable, after_ms: i64, now: &Zoned) -> (Vec<Period>, Option<i64>) {
    let now_ms = now.timestamp().as_millisecond();
    let (mut ended, mut next) = (Vec::new(), None);
    for days in -OPEN_DAYS..=1 {
        let Ok(day) = now.checked_add(jiff::Span::new().days(days)) else { continue };
        // A day that ended before is not even looked up.
        if days < 0 && day.timestamp().as_millisecond() + 2 * 86_400_000 < after_ms {
            continue;
        }
        for (ordinal, slot) in (1..).zip(table.slots(&day)) {
            if slot.end_ms > now_ms {
                next = Some(next.map_or(slot.end_ms, |n: i64| n.min(slot.end_ms)));
            } else if slot.end_ms > after_ms {
                ended.push(Period { date: day.date(), week: table.week(day.date()), ordinal, slot });
            }
        }
    }
    (ended, next)
}

/// What else a row says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// What a recording of the period says about it, where there is one.
    pub said: Option<About>,
    /// Alarms at its start.
    pub before: Vec<Code>,
    /// Alarms at its end.
    pub after: Vec<Code>,
    /// When the row is written, Unix milliseconds.
    pub now_ms: i64,
}

/// Whether so many seconds of use make a period used.
#[must_use]
pub fn judge(sums: &Sums, length_s: u32, needed_s: u32) -> Used {
    let unknown_s = length_s.saturating_sub(sums.known_s);
    if sums.used_s >= needed_s {
        Used::Used
    } else if sums.used_s + unknown_s < needed_s {
        Used::Not
    } else {
        Used::Unknown
    }
}

/// The row of a period; none for one that nobody planned and in which the machine was certainly off.
#[must_use]
pub fn row(period: &Period, sums: &Sums, rule: Rule, beside: Beside) -> Option<Usage> {
    let slot = &period.slot;
    let length_s = u32::try_from((slot.end_ms - slot.start_ms) / 1000).unwrap_or(0);
    if !period.planned() && sums.powered_s == 0 {
        return None;
    }
    // A period shorter than the rule asks for is used when it is used from end to end.
    let needed_s = rule.needed_s.min(length_s);
    let said = beside.said.unwrap_or_default();
    let short = |text: String| text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect::<String>();
    let or = |said: String, planned: &String| short(if said.is_empty() { planned.clone() } else { said });
    let plan = &slot.about;
    Some(Usage {
        v: 1,
        date: period.date.to_string(),
        week: period.week,
        weekday: period.date.weekday().to_monday_one_offset().unsigned_abs(),
        period: short(plan.period.clone()),
        ordinal: period.ordinal,
        planned_start_ms: slot.start_ms,
        planned_end_ms: slot.end_ms,
        actual_start_ms: sums.actual_ms.map(|(first, _)| first),
        actual_end_ms: sums.actual_ms.map(|(_, last)| last),
        class: or(said.class, &plan.class),
        subject: or(said.subject, &plan.subject),
        topic: or(said.topic, &plan.topic),
        teacher: or(said.teacher, &plan.teacher),
        teacher_id: or(said.teacher_id, &plan.teacher_id),
        planned: period.planned(),
        used: judge(sums, length_s, needed_s),
        needed_s,
        used_s: sums.used_s,
        active_s: sums.active_s,
        display_on_s: sums.display_on_s,
        recorded_s: sums.recorded_s,
        known_s: sums.known_s,
        powered_s: sums.powered_s,
        categories: sums.categories.iter().take(MAX_ENTRIES).map(|(name, s)| (name.clone(), *s)).collect(),
        lessons: sums.lessons.iter().take(MAX_ENTRIES).map(|(id, _)| id.clone()).collect(),
        before: beside.before,
        after: beside.after,
        condition_note: String::new(),
        fault_note: String::new(),
        source: Source::Auto,
        by: String::new(),
        by_id: String::new(),
        said_ms: beside.now_ms,
    })
}
