//! What a teacher asks to be made of a sealed lesson, and the name of the file.

use lectern_wire::manifest::{ABOUT_MAX_CHARS, About};
use serde::{Deserialize, Serialize};

/// A clip or rendition as it is asked for; kept as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// Where it begins in the lesson, milliseconds.
    pub from_ms: u64,
    /// Where it ends; the lesson's end when it is absent.
    pub to_ms: Option<u64>,
    /// Id of the profile.
    pub profile: String,
    /// Whether it begins with a title.
    pub title: bool,
    /// 教材版本
    pub edition: String,
    /// 册次
    pub volume: String,
    /// 第几课时
    pub part: String,
}

impl Wish {
    /// What is wrong with it by itself, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let words = [("edition", &self.edition), ("volume", &self.volume), ("part", &self.part)];
        let bad = |text: &str| text.chars().count() > ABOUT_MAX_CHARS || text.chars().any(char::is_control);
        if let Some((name, _)) = words.iter().find(|(_, text)| bad(text)) {
            return Some(format!(
                "{name} is longer than {ABOUT_MAX_CHARS} characters or holds a control character"
            ));
        }
        self.to_ms
            .is_some_and(|to| to <= self.from_ms)
            .then(|| "the end must lie behind the beginning".to_owned())
    }

    /// The lines of its title: 教材版本 学科 年级 册次, 第几课时 教师, 学校. The heading is the topic.
    #[must_use]
    pub fn title_lines(&self, about: &About, school: &str) -> Vec<String> {
        let line =
            |words: &[&str]| words.iter().filter(|w| !w.is_empty()).copied().collect::<Vec<_>>().join(" ");
        let lines = [
            line(&[&self.edition, &about.subject, grade(&about.class), &self.volume]),
            line(&[&self.part, &about.teacher]),
            line(&[school]),
        ];
        lines.into_iter().filter(|line| !line.is_empty()).collect()
    }
}

/// 五年级 of 五年级2班.
fn grade(class: &str) -> &str {
    const MARK: &str = "年级";
    class.find(MARK).and_then(|at| class.get(..at + MARK.len())).unwrap_or(class)
}

/// Longest name of a file, bytes of UTF-8.
const NAME_MAX: usize = 120;

/// `学校_年级学科_课题_教师_20260912_第3节`, then what tells it from others, then `.mp4`. What is not known is left out, what
/// file systems do not like becomes `-`, and the topic is shortened first.
#[must_use]
pub fn file_name(school: &str, about: &About, day: &str, other: &str) -> String {
    let clean = |text: &str| -> String {
        let odd = |c: char| c.is_control() || c.is_whitespace() || "/\\:*?\"<>|_".contains(c);
        text.trim().chars().map(|c| if odd(c) { '-' } else { c }).collect()
    };
    let words = |topic: &str| {
        let subject = format!("{}{}", grade(&about.class), about.subject);
        let all = [school, &subject, topic, &about.teacher, day, &about.period, other].map(clean);
        all.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
    };
    let room = NAME_MAX - ".mp4".len();
    let mut topic = about.topic.as_str();
    let mut name = words(topic);
    while name.len() > room && !topic.is_empty() {
        topic = topic.char_indices().next_back().and_then(|(at, _)| topic.get(..at)).unwrap_or_default();
        name = words(topic);
    }
    // What tells it from others stands at the end and is kept.
    while name.len() > room {
        name.remove(0);
    }
    let name = name.trim_start_matches(['.', '-', '_']);
    format!("{name}.mp4")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_as_platforms_ask() {
        let about = About {
            teacher: "张老师".into(),
            class: "五年级2班".into(),
            subject: "语文".into(),
            topic: "草船借箭".into(),
            period: "第3节".into(),
            ..About::default()
        };
        let name = |about: &About, other| file_name("示范学校", about, "20260912", other);
        assert_eq!(name(&about, ""), "示范学校_五年级语文_草船借箭_张老师_20260912_第3节.mp4");
        let odd = About { topic: "a/b: \"c\" <..\\..> e_f\n".into(), ..about.clone() };
        assert_eq!(
            name(&odd, ""),
            "示范学校_五年级语文_a-b---c--<..-..>-e-f_张老师_20260912_第3节.mp4".replace(['<', '>'], "-")
        );
        let long = About { topic: "课".repeat(80), ..about };
        let long = name(&long, "精品课-2");
        assert!(long.len() <= 120 && long.ends_with("_张老师_20260912_第3节_精品课-2.mp4"), "{long}");
        let all = About { class: "班".repeat(80), teacher: "师".repeat(80), ..About::default() };
        let all = name(&all, "2");
        assert!(all.len() <= 120 && all.ends_with("_20260912_2.mp4"), "{all}");
        assert_eq!(file_name("", &About::default(), "20260912", ""), "20260912.mp4");
    }

    #[test]
    fn the_title_says_what_is_known() {
        let about = About {
            teacher: "张老师".into(),
            class: "五年级2班".into(),
            subject: "语文".into(),
            ..About::default()
        };
        let wish = Wish { edition: "人教版".into(), volume: "下册".into(), ..Wish::default() };
        assert_eq!(wish.title_lines(&about, "示范学校"), ["人教版 语文 五年级 下册", "张老师", "示范学校"]);
        assert!(wish.fault().is_none());
        assert!(Wish { to_ms: Some(0), ..Wish::default() }.fault().is_some());
    }
}
