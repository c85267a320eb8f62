//! `lectern clip`: clips and renditions of finished lessons.

use std::path::Path;

use clap::{Args, Subcommand};
use lectern_base::exit::Exit;
use lectern_wire::manifest::clock_text;
use serde_json::{Value, json};

use super::fail;
use super::remote::{answer, ask};

/// What is asked.
#[derive(Debug, Subcommand)]
pub enum Clip {
    /// Cut a stretch out of a lesson.
    Make(Make),
    /// List the clips on this machine and how far they are.
    List,
    /// End one that waits or is being made.
    Cancel {
        /// Its number.
        id: i64,
    },
    /// Remove one and its file.
    Remove {
        /// Its number.
        id: i64,
    },
}

/// A clip to be made.
#[derive(Debug, Args)]
pub struct Make {
    /// The lesson's id.
    lesson: String,
    /// Where it begins: 12:00 or 1:02:03.
    #[arg(long, default_value = "0:00")]
    from: String,
    /// Where it ends; without it the lesson's end.
    #[arg(long)]
    to: Option<String>,
    /// Id of the profile; those that encode anew take their time.
    #[arg(long, default_value = "clip")]
    profile: String,
    /// Begin with a title of 5 s.
    #[arg(long)]
    title: bool,
    /// 教材版本, for the title
    #[arg(long, default_value = "")]
    edition: String,
    /// 册次, for the title
    #[arg(long, default_value = "")]
    volume: String,
    /// 第几课时, for the title
    #[arg(long, default_value = "")]
    part: String,
}

/// Asks the daemon.
pub fn run(data_dir: &Path, clip: &Clip, json: bool) -> Exit {
    let press = |body: &Value, done: &str| {
        answer(ask(data_dir, "/api/clips", Some(body)), json, |value| format!("clip {}: {done}", value["id"]))
    };
    match clip {
        Clip::Make(make) => match wish(make) {
            Ok(wish) => press(&json!({ "action": "make", "lesson": make.lesson, "wish": wish }), "queued"),
            Err(e) => {
                fail(&e);
                Exit::BadSettings
            }
        },
        Clip::Cancel { id } => press(&json!({ "action": "cancel", "id": id }), "cancelled"),
        Clip::Remove { id } => press(&json!({ "action": "remove", "id": id }), "removed"),
        Clip::List => answer(ask(data_dir, "/api/clips", None), json, |value| {
            let rows: Vec<_> = value["clips"].as_array().into_iter().flatten().map(row).collect();
            if rows.is_empty() { "no clips yet".into() } else { rows.join("\n") }
        }),
    }
}

fn wish(make: &Make) -> Result<Value, String> {
    let to_ms = make.to.as_deref().map(time_ms).transpose()?;
    Ok(json!({
        "from_ms": time_ms(&make.from)?, "to_ms": to_ms, "profile": make.profile, "title": make.title,
        "edition": make.edition, "volume": make.volume, "part": make.part,
    }))
}

/// `12:00`, `1:02:03` or seconds, in milliseconds.
pub fn time_ms(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a time such as 12:00 or 1:02:03");
    let parts: Vec<u64> = text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?;
    let small =
        parts.iter().skip(1).all(|n| *n < 60) && parts.len() <= 3 && parts.iter().all(|n| *n < 1_000_000);
    small.then(|| parts.iter().fold(0, |sum, n| sum * 60 + n) * 1000).ok_or_else(bad)
}

fn row(clip: &Value) -> String {
    let number = |key: &str| clip[key].as_u64().unwrap_or(0);
    let state = clip["state"].as_str().unwrap_or("?");
    let more = match state {
        "done" => {
            format!("{} {}", clock_text(number("length_ms")), clip["path"].as_str().unwrap_or_default())
        }
        "making" | "paused" => format!("{}%", number("done_ms") * 100 / number("of_ms").max(1)),
        _ => clip["problem"].as_str().unwrap_or_default().to_owned(),
    };
    format!("{:>4}  {state:<9}  {}  {more}", number("id"), clip["lesson"].as_str().unwrap_or_default())
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(time_ms("12:00"), Ok(720_000));
        assert_eq!(time_ms("1:02:03"), Ok(3_723_000));
        assert_eq!(time_ms("90"), Ok(90_000));
        for bad in ["", "12:61", "-1", "a", "1:2:3:4", "99999999999999999999", "18446744073709551615:00"] {
            assert!(time_ms(bad).is_err(), "{bad}");
        }
    }
}
