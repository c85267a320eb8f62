//! What one cell of a grid says: course, teacher, weeks, room; several lessons are parted by an empty line.

use lectern_wire::timetable::Weeks;

use super::fold;

/// One lesson of a cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The course.
    pub subject: String,
    /// Who gives it.
    pub teacher: String,
    /// When.
    pub weeks: Weeks,
    /// Where, when the cell says so.
    pub room: String,
}

/// Words that mean that nothing is on.
const NOTHING: [&str; 8] = ["-", "--", "—", "/", "无", "空", "×", "休息"];

/// Reads a cell. `is_room` knows the rooms there are.
///
/// # Errors
/// What cannot be read, in a sentence.
pub fn read(text: &str, is_room: impl Fn(&str) -> bool) -> Result<Vec<Said>, String> {
    let mut lessons = Vec::new();
    for block in text.replace('\r', "\n").split("\n\n") {
        let lines: Vec<_> = block.lines().map(fold::spaced).filter(|l| !l.is_empty()).collect();
        let words = match lines.as_slice() {
            [] => continue,
            [line] => parted(line),
            _ => lines,
        };
        let mut words = words.into_iter();
        let Some(subject) = words.next().filter(|w| !NOTHING.contains(&w.as_str())) else { continue };
        let mut said = Said { subject, ..Said::default() };
        for word in words {
            if let Some(weeks) = weeks(&word) {
                said.weeks = weeks?;
            } else if said.room.is_empty() && (is_room(&word) || names_a_place(&word)) {
                said.room = word;
            } else if said.teacher.is_empty() {
                said.teacher = word;
            } else if said.room.is_empty() {
                said.room = word;
            } else {
                return Err(format!(
                    "“{word}”不知道是什么：一格里先写课程，再写教师、周次、教室，一项一行。"
                ));
            }
        }
        lessons.push(said);
    }
    Ok(lessons)
}

/// Weeks, when a word is meant to be some.
fn weeks(word: &str) -> Option<Result<Weeks, String>> {
    let bare = word.trim_start_matches(['(', '[']).trim_end_matches([')', ']']);
    let only = |c: char| c.is_ascii_digit() || " -~,，、[](){}/第周单双数全每至".contains(c);
    let meant = bare.chars().all(only) && bare.contains(|c: char| c.is_ascii_digit() || "单双".contains(c));
    // 301 is a room; a term has no such week.
    let numeral = bare.chars().all(|c| c.is_ascii_digit()) && bare.len() > 2;
    if !meant || numeral {
        return None;
    }
    // The third of every three all term long is written [3/3]: its brackets belong to it.
    let text = match (bare.contains(['[', '(']), bare.contains('/')) {
        (true, _) => word.to_owned(),
        (false, true) => format!("[{bare}]"),
        (false, false) => bare.to_owned(),
    };
    Some(
        Weeks::parse(&text)
            .map_err(|_| format!("“{word}”不是周次，周次写成 1-16、1-16[单周] 或 1-16[1/3]。")),
    )
}

fn names_a_place(word: &str) -> bool {
    ["室", "馆", "场", "楼", "机房", "厅"].iter().any(|end| word.ends_with(end))
}

/// The words of a single line: 语文 张老师, 语文(张老师), 语文/张老师, 体育(单)/音乐 is not one.
fn parted(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let after_digit = words.last().is_some_and(|w| w.ends_with(|c: char| c.is_ascii_digit()));
        match c {
            ' ' | '/' if !(c == '/' && after_digit) => words.push(String::new()),
            '(' if !after_digit => {
                let inner: String = chars.by_ref().take_while(|c| *c != ')').collect();
                words.push(inner);
                words.push(String::new());
            }
            _ => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.into_iter().map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect()
}
