//! The grid shape: a sheet per class, weekdays across, periods down.

use lectern_wire::manifest::About;
use lectern_wire::timetable::Period;

use super::sheet::Sheet;
use super::{Fault, Lesson, cell, fold};

/// The row of weekdays: where it stands and which column is which day.
#[derive(Debug, Clone)]
pub struct Week {
    row: usize,
    days: Vec<(usize, i8)>,
}

/// The row of weekdays, when the sheet is a grid.
#[must_use]
pub fn week(sheet: &Sheet) -> Option<Week> {
    (0..sheet.rows.len().min(12)).find_map(|row| {
        let days: Vec<_> = (0..sheet.rows[row].len())
            .filter(|column| fold::names_a_weekday(sheet.cell(row, *column)))
            .filter_map(|column| Some((column, fold::weekday(sheet.cell(row, column))?)))
            .collect();
        let first = days.first().map(|(_, day)| *day)?;
        // A title over all columns is no week.
        (days.len() >= 2 && days.iter().any(|(_, day)| *day != first)).then_some(Week { row, days })
    })
}

/// The class of a sheet: its name, or the title above the week.
fn class(sheet: &Sheet, week: &Week) -> Option<String> {
    let folded = fold::text(&sheet.name);
    let nobodys = folded.starts_with("sheet") || folded.starts_with("工作表") || folded.contains("课表");
    if !nobodys && !folded.is_empty() {
        return Some(fold::spaced(&sheet.name));
    }
    let titles = (0..week.row).flat_map(|row| (0..sheet.rows[row].len()).map(move |column| (row, column)));
    let named = |text: &str| {
        let text = fold::spaced(text).replace(' ', "");
        let text = text.trim_start_matches("班级").trim_start_matches([':', '：']);
        let end = text.find('班')? + '班'.len_utf8();
        Some(text[..end].to_owned()).filter(|class| class.chars().count() > 1)
    };
    titles.into_iter().find_map(|(row, column)| named(sheet.cell(row, column))).or_else(|| named(&sheet.name))
}

/// The lessons of a grid.
pub fn read(
    sheet: &Sheet,
    week: &Week,
    bells: &[Period],
    is_room: &dyn Fn(&str) -> bool,
    faults: &mut Vec<Fault>,
) -> Vec<Lesson> {
    let mut lessons = Vec::new();
    let Some(class) = class(sheet, week) else {
        faults.push(sheet.fault(0, 0, "不知道这是哪个班的课表，请把工作表的名字改成班级，例如 五年级2班。"));
        return lessons;
    };
    let first_day = week.days.iter().map(|(column, _)| *column).min().unwrap_or(0);
    for row in week.row + 1..sheet.rows.len() {
        let filled = |column: usize| !sheet.cell(row, column).is_empty();
        if !week.days.iter().any(|(column, _)| filled(*column)) {
            continue;
        }
        // The period stands left of the days; beside it there may be 上午 or a time.
        let label = (0..first_day).find(|c| fold::looks_like_a_period(sheet.cell(row, *c), bells));
        let Some(label) = label else {
            // 午休, 大课间 over the whole week: one text in every column.
            let texts: Vec<_> = week.days.iter().map(|(column, _)| sheet.cell(row, *column)).collect();
            if texts.iter().any(|text| *text != texts[0]) {
                faults.push(sheet.fault(row, 0, "这一行没有写是第几节。"));
            }
            continue;
        };
        let periods = match fold::periods(sheet.cell(row, label), bells) {
            Ok(periods) => periods,
            Err(what) => {
                faults.push(sheet.fault(row, label, what));
                continue;
            }
        };
        for (column, weekday) in &week.days {
            let said = match cell::read(sheet.cell(row, *column), is_room) {
                Ok(said) => said,
                Err(what) => {
                    faults.push(sheet.fault(row, *column, what));
                    continue;
                }
            };
            for said in said {
                let about = About {
                    class: class.clone(),
                    subject: said.subject,
                    teacher: said.teacher,
                    ..About::default()
                };
                if let Some(what) = about.fault() {
                    faults.push(sheet.fault(row, *column, format!("有一项太长：{what}。")));
                    continue;
                }
                lessons.extend(periods.iter().map(|period| Lesson {
                    weekday: *weekday,
                    period: period.clone(),
                    weeks: said.weeks.clone(),
                    about: about.clone(),
                    room: said.room.clone(),
                    at: sheet.place(row, *column),
                }));
            }
        }
    }
    lessons
}
