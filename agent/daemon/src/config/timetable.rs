//! Reads the timetable of this room.

use std::path::Path;

use jiff::civil::{Date, Time, Weekday};
use lectern_wire::manifest::About;

use super::folder;
use super::reader::Section;
use crate::model::timetable::{Period, Plan, Timetable, Weeks};

/// The timetable; none when there is no such file.
///
/// # Errors
/// All faults, a sentence each.
pub fn load(file: &Path) -> Result<Option<Timetable>, Vec<String>> {
    let named =
        |faults: Vec<String>| faults.into_iter().map(|f| format!("{}: {f}", file.display())).collect();
    match std::fs::read_to_string(file) {
        Ok(text) => parse(&text).map(Some).map_err(named),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(named(vec![format!("could not be read: {e}")])),
    }
}

fn parse(text: &str) -> Result<Timetable, Vec<String>> {
    folder::parse(text, |s| {
        let first_monday = s.maybe_parsed("first_monday", monday);
        let bell_offset_s = s.number("bell_offset_s", 0, -3600..=3600);
        let periods: Vec<Period> = s.sections("period").into_iter().map(period).collect();
        let plans: Vec<Plan> = s.sections("lesson").into_iter().map(plan).collect();
        for (n, pair) in periods.windows(2).enumerate() {
            if pair[1].start < pair[0].end {
                s.fault(&format!("period[{}]", n + 2), "begins before the one above it ends");
            }
        }
        for (n, plan) in plans.iter().enumerate() {
            if !plan.period.is_empty() && !periods.iter().any(|p| p.name == plan.period) {
                s.fault(
                    &format!("lesson[{}].period", n + 1),
                    &format!("there is no period {:?}", plan.period),
                );
            }
        }
        Timetable { periods, plans, first_monday, bell_offset_s, ..Timetable::default() }
    })
}

fn monday(text: &str) -> Result<Date, String> {
    match text.parse::<Date>() {
        Ok(date) if date.weekday() == Weekday::Monday => Ok(date),
        Ok(date) => Err(format!("{date} is not a Monday")),
        Err(_) => Err(format!("{text:?} is not a date such as 2026-08-31")),
    }
}

fn clock_time(text: &str) -> Result<Time, String> {
    Time::strptime("%H:%M", text).map_err(|_| format!("{text:?} is not a time such as 08:05"))
}

fn period(mut s: Section<'_>) -> Period {
    let name = s.text("name", None, 20);
    let start = s.parsed("start", clock_time);
    let end = s.parsed("end", clock_time);
    if let (Some(start), Some(end)) = (start, end)
        && end <= start
    {
        s.fault("end", "is not after its start");
    }
    s.end();
    Period { name, start: start.unwrap_or_default(), end: end.unwrap_or_default() }
}

fn plan(mut s: Section<'_>) -> Plan {
    let weekday = s.number("weekday", 0, 1..=7);
    if weekday == 0 {
        s.fault("weekday", "is missing; 1 is Monday");
    }
    let plan = Plan {
        weekday,
        period: s.text("period", None, 20),
        weeks: s.maybe_parsed("weeks", Weeks::parse).unwrap_or_default(),
        about: About {
            class: s.text("class", Some(""), 80),
            subject: s.text("subject", Some(""), 80),
            teacher: s.text("teacher", Some(""), 80),
            teacher_id: s.text("teacher_id", Some(""), 80),
            ..About::default()
        },
    };
    s.end();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timetable_that_ships_is_valid() {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/timetable.toml"));
        let table = load(shipped).expect("valid").expect("there");
        assert!(table.periods.len() > 5 && !table.plans.is_empty() && table.first_monday.is_some());
        assert_eq!(load(Path::new("/nowhere/timetable.toml")), Ok(None));
    }

    #[test]
    fn every_fault_of_a_timetable_is_named_at_once() {
        let text = "
            first_monday = \"2026-09-01\"
            [[period]]\nname = \"第1节\"\nstart = \"08:00\"\nend = \"08:40\"
            [[period]]\nname = \"第2节\"\nstart = \"08:30\"\nend = \"8点\"
            [[lesson]]\nperiod = \"第9节\"\nweeks = \"半\"\nclas = \"x\"
        ";
        let faults = parse(text).expect_err("faults");
        for path in [
            "first_monday: 2026-09-01 is not a Monday",
            "period[2].end",
            "period[2]: begins before",
            "lesson[1].period",
            "lesson[1].weekday",
            "lesson[1].weeks",
            "lesson[1].clas",
        ] {
            assert!(faults.iter().any(|f| f.starts_with(path)), "{path} is missing in {faults:#?}");
        }
    }
}
