//! What cannot be at the same time, and what nobody can hold: told before anything is applied.

use std::collections::BTreeMap;

use super::{Lesson, SchoolTable, fold};

/// What was found before applying.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clashes {
    /// A room, a class or a teacher twice: may be meant so.
    pub twice: Vec<String>,
    /// Rooms that no device stands in: their lessons reach nobody.
    pub unknown_rooms: Vec<String>,
    /// Lessons in periods that the bells do not have: nothing can be applied.
    pub unknown_periods: Vec<String>,
}

/// Looks for clashes. `knows` is whether a device stands in a room.
#[must_use]
pub fn find(table: &SchoolTable, knows: impl Fn(&str) -> bool) -> Clashes {
    let mut out = Clashes::default();
    let mut slots = BTreeMap::<(i8, &str), Vec<&Lesson>>::new();
    for lesson in &table.lessons {
        slots.entry((lesson.weekday, lesson.period.as_str())).or_default().push(lesson);
        if !table.periods.iter().any(|p| p.name == lesson.period) {
            let what = format!("{}：没有“{}”这一节。", told(lesson), lesson.period);
            out.unknown_periods.push(what);
        }
    }
    for ((weekday, period), lessons) in slots {
        for (n, one) in lessons.iter().enumerate() {
            for other in &lessons[n + 1..] {
                let Some(what) = clash(one, other) else { continue };
                let when = format!("{}{period}", fold::weekday_name(weekday));
                out.twice.push(format!("{when}：{what}（{} 与 {}）。", told(one), told(other)));
            }
        }
    }
    let mut unknown = BTreeMap::<String, usize>::new();
    for lesson in &table.lessons {
        let room = super::room::of(lesson);
        if !knows(room) {
            *unknown.entry(room.to_owned()).or_default() += 1;
        }
    }
    out.unknown_rooms = unknown
        .into_iter()
        .map(|(room, n)| format!("“{room}”没有登记过的设备，那里的 {n} 节课不会显示在教室里。"))
        .collect();
    out
}

fn clash(one: &Lesson, other: &Lesson) -> Option<String> {
    if !one.weeks.meet(&other.weeks) {
        return None;
    }
    let same = |a: &str, b: &str| !a.is_empty() && fold::text(a) == fold::text(b);
    if same(&one.about.class, &other.about.class) {
        return Some(format!("{}同时有两节课", one.about.class));
    }
    let (room, second) = (super::room::of(one), super::room::of(other));
    if !room.is_empty() && fold::room(room) == fold::room(second) {
        return Some(format!("{room}同时有两节课"));
    }
    let (a, b) = (&one.about, &other.about);
    let teacher = if a.teacher_id.is_empty() || b.teacher_id.is_empty() {
        same(&a.teacher, &b.teacher)
    } else {
        a.teacher_id == b.teacher_id
    };
    teacher
        .then(|| format!("{}同时要上两节课", if a.teacher.is_empty() { &a.teacher_id } else { &a.teacher }))
}

/// A lesson, and where it stood when it came from a file.
fn told(lesson: &Lesson) -> String {
    let what = format!("{}{}", lesson.about.class, lesson.about.subject);
    let weeks = if lesson.weeks.every() { String::new() } else { format!("[{}]", lesson.weeks) };
    if lesson.at.sheet.is_empty() { format!("{what}{weeks}") } else { format!("{what}{weeks} {}", lesson.at) }
}
