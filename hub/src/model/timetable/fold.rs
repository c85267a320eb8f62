//! Text as it is compared: NFKC, without spaces, so that 第３节, 第3节, 3 and 三 can be found to be the same.

use jiff::civil::Date;
use lectern_wire::timetable::Period;
use unicode_normalization::UnicodeNormalization as _;

/// Folded for comparing: no spaces, lower case.
#[must_use]
pub fn text(text: &str) -> String {
    text.nfkc().filter(|c| !c.is_whitespace() && !c.is_control()).flat_map(char::to_lowercase).collect()
}

/// Folded, but for reading on: control characters and runs of spaces become one space.
#[must_use]
pub fn spaced(text: &str) -> String {
    let folded: String = text.nfkc().map(|c| if c.is_control() { ' ' } else { c }).collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The weekday of a word: 星期一, 周一, 一, 1, Mon; 1 is Monday.
#[must_use]
pub fn weekday(word: &str) -> Option<i8> {
    let folded = text(word);
    let bare = ["星期", "礼拜", "周"].iter().find_map(|p| folded.strip_prefix(p)).unwrap_or(&folded);
    Some(match bare {
        "一" | "1" | "mon" | "monday" => 1,
        "二" | "2" | "tue" | "tuesday" => 2,
        "三" | "3" | "wed" | "wednesday" => 3,
        "四" | "4" | "thu" | "thursday" => 4,
        "五" | "5" | "fri" | "friday" => 5,
        "六" | "6" | "sat" | "saturday" => 6,
        "日" | "天" | "七" | "7" | "sun" | "sunday" => 7,
        _ => return None,
    })
}

/// Whether a word is a weekday and nothing else: a bare number is not.
#[must_use]
pub fn names_a_weekday(word: &str) -> bool {
    weekday(word).is_some() && !text(word).chars().all(|c| c.is_ascii_digit())
}

/// The weekday of a date, 星期一.
#[must_use]
pub fn weekday_word(date: Date) -> &'static str {
    weekday_name(date.weekday().to_monday_one_offset())
}

/// 星期一 for 1.
#[must_use]
pub fn weekday_name(weekday: i8) -> &'static str {
    match weekday {
        1 => "星期一",
        2 => "星期二",
        3 => "星期三",
        4 => "星期四",
        5 => "星期五",
        6 => "星期六",
        _ => "星期日",
    }
}

/// A number as digits or in Chinese, up to 20.
fn number(text: &str) -> Option<u32> {
    if let Ok(n) = text.parse() {
        return Some(n);
    }
    let digit =
        |c: char| "一二三四五六七八九".chars().position(|d| d == c).and_then(|n| u32::try_from(n + 1).ok());
    let mut chars = text.chars();
    match (chars.next()?, chars.next(), chars.next()) {
        ('十', None, _) => Some(10),
        ('十', Some(ones), None) => Some(10 + digit(ones)?),
        ('二', Some('十'), None) => Some(20),
        (one, None, _) => digit(one),
        _ => None,
    }
}

/// The number a period's name holds: 3 of 第3节, 三 or 上午第三节课.
fn number_of(folded: &str) -> Option<u32> {
    let bare = folded.trim_start_matches("上午").trim_start_matches("下午").trim_start_matches("晚上");
    let bare = bare.trim_start_matches('第').trim_end_matches('课').trim_end_matches('节');
    number(bare)
}

/// The periods a word names, one or several (`第3节`, `3`, `三`, `3-4`, `3、4节`), by their names in the bells.
///
/// # Errors
/// A sentence when there is no such period.
pub fn periods(word: &str, bells: &[Period]) -> Result<Vec<String>, String> {
    let folded = text(word);
    let named = |folded: &str| bells.iter().find(|p| text(&p.name) == folded);
    let numbered = |n: u32| bells.iter().find(|p| number_of(&text(&p.name)) == Some(n));
    let unknown = |what: &str| {
        if bells.is_empty() {
            return "还没有作息时间，请先填好节次和铃声。".to_owned();
        }
        let all: Vec<_> = bells.iter().map(|p| p.name.as_str()).collect();
        format!("没有“{what}”这一节，作息时间里有{}。", all.join("、"))
    };
    if let Some(period) = named(&folded) {
        return Ok(vec![period.name.clone()]);
    }
    let bare = folded.trim_start_matches('第').trim_end_matches('课').trim_end_matches('节');
    let mut found = Vec::new();
    for part in bare.split([',', '、', '，', ';']).filter(|p| !p.is_empty()) {
        let (from, to) = match part.split_once(['-', '~', '–', '至']) {
            Some((from, to)) => (number_of(from), number_of(to)),
            None => (number_of(part), number_of(part)),
        };
        let (Some(from), Some(to)) = (from, to) else {
            let period = named(part).ok_or_else(|| unknown(word.trim()))?;
            found.push(period.name.clone());
            continue;
        };
        if from > to || to > 20 {
            return Err(unknown(word.trim()));
        }
        for n in from..=to {
            let period = numbered(n).ok_or_else(|| unknown(&format!("第{n}节")))?;
            found.push(period.name.clone());
        }
    }
    if found.is_empty() { Err(unknown(word.trim())) } else { Ok(found) }
}

/// Whether a text starts like a period, known or not: 第9节, 三, 3, 3-4, 早读.
#[must_use]
pub fn looks_like_a_period(word: &str, bells: &[Period]) -> bool {
    let folded = text(word);
    let bare = folded.trim_start_matches('第').trim_end_matches('课').trim_end_matches('节');
    let first = bare.split([',', '、', '-', '~']).next().unwrap_or_default();
    number_of(first).is_some() || periods(word, bells).is_ok() || folded.contains('节')
}

/// A room's name as it is compared: 301教室 and 301 are the same.
#[must_use]
pub fn room(name: &str) -> String {
    let folded = text(name);
    match folded.strip_suffix("教室") {
        Some(bare) if !bare.is_empty() => bare.to_owned(),
        _ => folded,
    }
}
