//! The list shape: one row per lesson, a row of headings above.

use lectern_wire::manifest::About;
use lectern_wire::timetable::{Period, Weeks};

use super::sheet::Sheet;
use super::{Fault, Lesson, fold};

/// The headings, by what they are called.
const HEADINGS: [(Heading, &[&str]); 11] = [
    (Heading::Class, &["班级", "班", "行政班", "class", "classname"]),
    (Heading::Weekday, &["星期", "周几", "礼拜", "星期几", "weekday", "day"]),
    (Heading::Period, &["节次", "节", "节数", "课节", "第几节", "period", "classtime"]),
    (Heading::Subject, &["科目", "课程", "学科", "课程名称", "subject", "course"]),
    (Heading::Teacher, &["教师", "老师", "任课教师", "任课老师", "教师姓名", "teacher"]),
    (Heading::TeacherId, &["工号", "教师工号", "教工号", "teacherid", "staffid"]),
    (Heading::Room, &["教室", "地点", "上课地点", "上课教室", "classroom", "room", "location"]),
    (Heading::Weeks, &["周次", "周数", "上课周", "weeks"]),
    (Heading::Parity, &["单双周", "单双", "weekstatus"]),
    (Heading::FromWeek, &["开始周", "起始周", "startweek"]),
    (Heading::ToWeek, &["结束周", "截止周", "endweek"]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heading {
    Class,
    Weekday,
    Period,
    Subject,
    Teacher,
    TeacherId,
    Room,
    Weeks,
    Parity,
    FromWeek,
    ToWeek,
}

/// Where each heading stands.
#[derive(Debug, Clone)]
pub struct Headings {
    row: usize,
    columns: Vec<(Heading, usize)>,
}

impl Headings {
    fn column(&self, heading: Heading) -> Option<usize> {
        self.columns.iter().find(|(h, _)| *h == heading).map(|(_, column)| *column)
    }
}

/// The row of headings, when the sheet is a list.
#[must_use]
pub fn headings(sheet: &Sheet) -> Option<Headings> {
    (0..sheet.rows.len().min(12)).find_map(|row| {
        let mut columns = Vec::new();
        for column in 0..sheet.rows[row].len() {
            let word = fold::text(sheet.cell(row, column));
            if let Some((heading, _)) = HEADINGS.iter().find(|(_, words)| words.contains(&word.as_str()))
                && !columns.iter().any(|(h, _)| h == heading)
            {
                columns.push((*heading, column));
            }
        }
        let found = Headings { row, columns };
        let needed = [Heading::Weekday, Heading::Period, Heading::Subject];
        needed.into_iter().all(|h| found.column(h).is_some()).then_some(found)
    })
}

/// The lessons of a list.
pub fn read(sheet: &Sheet, headings: &Headings, bells: &[Period], faults: &mut Vec<Fault>) -> Vec<Lesson> {
    let mut lessons = Vec::new();
    if headings.column(Heading::Class).is_none() && headings.column(Heading::Room).is_none() {
        faults.push(sheet.fault(headings.row, 0, "没有“班级”一列，也没有“教室”一列，不知道课在哪里上。"));
        return lessons;
    }
    for row in headings.row + 1..sheet.rows.len() {
        if sheet.rows[row].iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let text = |heading| headings.column(heading).map_or("", |column| sheet.cell(row, column));
        let mut wrong = |heading, what: String| {
            faults.push(sheet.fault(row, headings.column(heading).unwrap_or(0), what));
        };
        let weekday = fold::weekday(text(Heading::Weekday));
        if weekday.is_none() {
            wrong(Heading::Weekday, format!("“{}”不是星期几，写成 星期一 或 1。", text(Heading::Weekday)));
        }
        let periods = fold::periods(text(Heading::Period), bells);
        let weeks = match span(&text) {
            Ok(weeks) => Some(weeks),
            Err(what) => {
                wrong(Heading::Weeks, what);
                None
            }
        };
        let subject = fold::spaced(text(Heading::Subject));
        if subject.is_empty() {
            wrong(Heading::Subject, "课程没有填。".into());
        }
        let (class, room) = (fold::spaced(text(Heading::Class)), fold::spaced(text(Heading::Room)));
        if class.is_empty() && room.is_empty() {
            wrong(Heading::Class, "班级和教室都没有填，不知道课在哪里上。".into());
        }
        let about = About {
            class,
            subject,
            teacher: fold::spaced(text(Heading::Teacher)),
            teacher_id: fold::spaced(text(Heading::TeacherId)),
            ..About::default()
        };
        if let Some(what) = about.fault() {
            wrong(Heading::Subject, format!("有一项太长：{what}。"));
        }
        let periods = match periods {
            Ok(periods) => periods,
            Err(what) => {
                wrong(Heading::Period, what);
                continue;
            }
        };
        let (Some(weekday), Some(weeks)) = (weekday, weeks) else { continue };
        for period in periods {
            let at = sheet.place(row, headings.column(Heading::Period).unwrap_or(0));
            let (weeks, about, room) = (weeks.clone(), about.clone(), room.clone());
            lessons.push(Lesson { weekday, period, weeks, about, room, at });
        }
    }
    lessons
}

/// The weeks of a row: in one column, or as first, last and parity (0 all, 1 odd, 2 even).
fn span<'a>(text: &impl Fn(Heading) -> &'a str) -> Result<Weeks, String> {
    let parity = match fold::text(text(Heading::Parity)).as_str() {
        "" | "0" | "全" | "全周" | "每周" => "",
        "1" | "单" | "单周" => "[单周]",
        "2" | "双" | "双周" => "[双周]",
        other => return Err(format!("“{other}”不是单双周，写成 单周、双周 或空着。")),
    };
    let weeks = fold::text(text(Heading::Weeks));
    let (from, to) = (fold::text(text(Heading::FromWeek)), fold::text(text(Heading::ToWeek)));
    let written = match (weeks.is_empty(), from.is_empty(), to.is_empty()) {
        (false, ..) if parity.is_empty() => weeks,
        (false, ..) => weeks.split([',', '，']).map(|w| format!("{w}{parity}")).collect::<Vec<_>>().join(","),
        (true, false, false) => format!("{from}-{to}{parity}"),
        (true, true, true) => parity.trim_matches(['[', ']']).to_owned(),
        _ => return Err("开始周和结束周要都填，或者都空着。".into()),
    };
    Weeks::parse(&written)
        .map_err(|_| format!("“{written}”不是周次，写成 1-16、1-16[单周]、2,4,9-12 或 1-16[1/3]。"))
}
