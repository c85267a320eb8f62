//! A file becomes lessons, or sentences that say why not.

use std::collections::HashMap;

use lectern_wire::timetable::Period;

use super::sheet::{self, Sheet};
use super::{Fault, Lesson, Place, SchoolTable, bells_fault, clock_time, cses, fold, grid, list};

/// Most faults that are told: a file of the wrong kind has thousands.
const MOST_FAULTS: usize = 60;

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The lessons.
    pub lessons: Vec<Lesson>,
    /// 节次, when the file brings them along.
    pub periods: Option<Vec<Period>>,
    /// Sheets that were passed over: they hold nothing like a timetable.
    pub passed: Vec<String>,
}

/// What is to be done with the lessons that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The file is the whole school: all of them go.
    School,
    /// Only those of the classes in the file go.
    Classes,
}

/// Reads a file. `known` are the bells of the school; `class` is whose timetable a CSES file is.
///
/// # Errors
/// Everything that is wrong with it, where, and what to do.
pub fn read(
    name: &str,
    bytes: &[u8],
    known: &[Period],
    class: &str,
    is_room: &dyn Fn(&str) -> bool,
) -> Result<Found, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut found = Found::default();
    let yaml =
        (!bytes.starts_with(b"PK")).then(|| sheet::decoded(bytes)).flatten().filter(|t| cses::is_one(t));
    if let Some(text) = yaml.filter(|_| bytes.len() <= sheet::MAX_FILE) {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let class = if class.trim().is_empty() { stem } else { class.trim() };
        (found.lessons, found.periods) = cses::read(name, &text, class, known, &mut faults);
    } else {
        let sheets = sheet::sheets(name, bytes)?;
        found.periods = sheets.iter().find_map(|sheet| bells_of(sheet, &mut faults));
        let bells = found.periods.clone().unwrap_or_else(|| known.to_vec());
        let ids = staff(&sheets);
        for sheet in &sheets {
            if is_bells(sheet).is_some() || is_staff(sheet).is_some() {
                continue;
            }
            if let Some(headings) = list::headings(sheet) {
                found.lessons.extend(list::read(sheet, &headings, &bells, &mut faults));
            } else if let Some(week) = grid::week(sheet) {
                found.lessons.extend(grid::read(sheet, &week, &bells, is_room, &mut faults));
            } else if sheet.rows.iter().flatten().any(|cell| !cell.trim().is_empty()) {
                found.passed.push(sheet.name.clone());
            }
        }
        for lesson in &mut found.lessons {
            if lesson.about.teacher_id.is_empty()
                && let Some(id) = ids.get(&fold::text(&lesson.about.teacher))
            {
                lesson.about.teacher_id.clone_from(id);
            }
        }
    }
    if faults.is_empty() && found.lessons.is_empty() && found.periods.is_none() {
        let what = "没有认出课表。列表形要有“星期、节次、课程、班级”这样的表头；表格形要一个班一张工作表，\
                    横着是星期一到星期五，竖着是节次。";
        faults.push(Fault { at: Place { sheet: name.to_owned(), ..Place::default() }, what: what.into() });
    }
    if faults.is_empty() {
        return Ok(found);
    }
    let more = faults.len().saturating_sub(MOST_FAULTS);
    faults.truncate(MOST_FAULTS);
    if more > 0 {
        faults.push(Fault { at: Place::default(), what: format!("还有 {more} 处同样读不出。") });
    }
    Err(faults)
}

/// The columns of a sheet of bells: name, start, end, and the row of headings.
fn is_bells(sheet: &Sheet) -> Option<(usize, [usize; 3])> {
    columns(
        sheet,
        &[
            &["节次", "节", "名称"],
            &["开始", "开始时间", "上课", "上课时间"],
            &["结束", "结束时间", "下课", "下课时间"],
        ],
    )
}

fn is_staff(sheet: &Sheet) -> Option<(usize, [usize; 2])> {
    // A list of lessons has these headings too, and more.
    if list::headings(sheet).is_some() {
        return None;
    }
    columns(sheet, &[&["姓名", "教师", "教师姓名"], &["工号", "教师工号", "教工号"]])
}

/// The row and columns of headings, the first of each that is there.
fn columns<const N: usize>(sheet: &Sheet, wanted: &[&[&str]; N]) -> Option<(usize, [usize; N])> {
    (0..sheet.rows.len().min(12)).find_map(|row| {
        let of = |words: &[&str]| {
            (0..sheet.rows[row].len()).find(|c| words.contains(&fold::text(sheet.cell(row, *c)).as_str()))
        };
        let found: Option<Vec<_>> = wanted.iter().map(|words| of(words)).collect();
        Some((row, found?.try_into().ok()?))
    })
}

fn bells_of(sheet: &Sheet, faults: &mut Vec<Fault>) -> Option<Vec<Period>> {
    let (head, [name, start, end]) = is_bells(sheet)?;
    let mut periods = Vec::new();
    for row in head + 1..sheet.rows.len() {
        if sheet.cell(row, name).is_empty() {
            continue;
        }
        let time = |column| clock_time(sheet.cell(row, column));
        match (time(start), time(end)) {
            (Some(start), Some(end)) => {
                let mut title = fold::spaced(sheet.cell(row, name));
                if title.chars().all(|c| c.is_ascii_digit()) {
                    title = format!("第{title}节");
                }
                periods.push(Period { name: title.chars().take(20).collect(), start, end });
            }
            (None, _) => faults.push(sheet.fault(row, start, "不是时间，写成 08:00。")),
            (_, None) => faults.push(sheet.fault(row, end, "不是时间，写成 08:40。")),
        }
    }
    if let Some(what) = bells_fault(&periods) {
        faults.push(sheet.fault(head, name, what));
    }
    Some(periods)
}

/// 工号 by the folded name. One that stands twice for different people is nobody's.
fn staff(sheets: &[Sheet]) -> HashMap<String, String> {
    let mut ids = HashMap::<String, String>::new();
    for sheet in sheets {
        let Some((head, [name, id])) = is_staff(sheet) else { continue };
        for row in head + 1..sheet.rows.len() {
            let (name, id) = (fold::text(sheet.cell(row, name)), fold::spaced(sheet.cell(row, id)));
            if !name.is_empty() && !id.is_empty() {
                let before = ids.entry(name).or_insert_with(|| id.clone());
                if *before != id {
                    before.clear();
                }
            }
        }
    }
    ids
}

/// The school's table as it is once the file is taken.
#[must_use]
pub fn merged(before: &SchoolTable, found: &Found, scope: Scope) -> SchoolTable {
    let mut after = before.clone();
    if let Some(periods) = &found.periods {
        after.periods.clone_from(periods);
    }
    if !found.lessons.is_empty() {
        let brought =
            |class: &str| found.lessons.iter().any(|l| fold::text(&l.about.class) == fold::text(class));
        after.lessons.retain(|lesson| scope == Scope::Classes && !brought(&lesson.about.class));
        after.lessons.extend(found.lessons.iter().cloned());
    }
    after
}
