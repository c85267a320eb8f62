//! Names of files people download and hand on.

use lectern_wire::manifest::About;

/// Longest file name, bytes of UTF-8: the shortest limit among the platforms lessons are handed to.
const MAX_BYTES: usize = 120;

/// `学校_年级学科_课题_教师_20260912_第3节.mp4`; what is not known is left out.
#[must_use]
pub fn download(school: &str, about: &About, day: &str, take: Option<u32>) -> String {
    let class_subject = format!("{}{}", about.class, about.subject);
    let take = take.map(|n| format!("第{n}段")).unwrap_or_default();
    joined(&[school, &class_subject, &about.topic, &about.teacher, day, &about.period, &take])
}

/// `匿名_语文_草船借箭_3f9a12cd.mp4`: what it is about, and digits to tell it from others by. A class would say which.
#[must_use]
pub fn anonymous(about: &About, digest: &str) -> String {
    joined(&["匿名", &about.subject, &about.topic, digest.get(..8).unwrap_or(digest)])
}

fn joined(parts: &[&str]) -> String {
    let mut name = String::new();
    for part in parts {
        let part: String = part.chars().map(plain).collect();
        let part = part.trim_matches(['.', ' ', '_']);
        if part.is_empty() {
            continue;
        }
        let joined = part.len() + usize::from(!name.is_empty());
        if name.len() + joined > MAX_BYTES - ".mp4".len() {
            continue;
        }
        if !name.is_empty() {
            name.push('_');
        }
        name.push_str(part);
    }
    if name.is_empty() {
        name.push_str("lesson");
    }
    name + ".mp4"
}

/// Characters some file system, header or list refuses become `_`.
fn plain(c: char) -> char {
    if c.is_control() || "\\/:*?\"<>|;'`$%".contains(c) { '_' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_named_as_the_platforms_want_it() {
        let about = About {
            teacher: "张老师".into(),
            class: "五年级2班".into(),
            subject: "语文".into(),
            topic: "草船/借箭?".into(),
            period: "第3节".into(),
            ..About::default()
        };
        let name = download("实验小学", &about, "20260912", None);
        assert_eq!(name, "实验小学_五年级2班语文_草船_借箭_张老师_20260912_第3节.mp4");
        assert_eq!(anonymous(&about, "3f9a12cd77"), "匿名_语文_草船_借箭_3f9a12cd.mp4");
        let long = About { topic: "长".repeat(80), ..about };
        assert!(download("实验小学", &long, "20260912", Some(2)).len() <= 120);
        assert_eq!(download("", &About::default(), "", None), "lesson.mp4");
    }
}
