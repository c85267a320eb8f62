//! Telegraf by its shipped settings, as far as rooms meet it: it subscribes as they say and makes points of what comes.
//! Telegraf itself is not to be had here, so its MQTT consumer, JSON parser and string processor are followed as their
//! documents have them; a setting that is not known here fails, so that the file cannot say more than is tried.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use toml::{Table, Value as Setting};

use crate::folder::Folder;
use crate::process::Process;

const SHIPPED: &str = include_str!("../../config/telegraf.conf");
/// The password that the shipped file takes from the environment.
pub const PASSWORD: (&str, &str) = ("LECTERN_TELEGRAF_PASSWORD", "telegrafs-own-password");

/// What Telegraf would hand on to where it writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What was measured.
    pub measurement: String,
    /// Whose it is.
    pub tags: BTreeMap<String, String>,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// Numbers by their names.
    pub fields: BTreeMap<String, f64>,
    /// Where it came from.
    pub topic: String,
}

/// It listens until it is dropped.
#[derive(Debug)]
pub struct Telegraf {
    process: Process,
    consumer: Table,
    prefix: String,
}

impl Telegraf {
    /// The user it is at the broker.
    ///
    /// # Errors
    /// When the shipped file names none.
    pub fn user() -> anyhow::Result<String> {
        Ok(text(&consumer()?, "username")?.to_owned())
    }

    /// Subscribes at a broker of this port.
    ///
    /// # Errors
    /// When the shipped settings say something unknown, or the subscriber cannot be started.
    pub fn start(folder: &Folder, port: u16) -> anyhow::Result<Self> {
        let consumer = consumer()?;
        let known = [
            ("data_format", Setting::from("json")),
            ("json_time_format", "unix_ms".into()),
            ("topic_tag", "".into()),
            ("persistent_session", true.into()),
            ("servers", vec!["tcp://127.0.0.1:1883"].into()),
            ("password", format!("${{{}}}", PASSWORD.0).into()),
        ];
        for (name, value) in &known {
            ensure!(consumer.get(*name) == Some(value), "{name} is {:?}", consumer.get(*name));
        }
        let used = ["topics", "qos", "client_id", "username", "json_time_key", "topic_parsing"];
        let odd = consumer
            .keys()
            .find(|key| !used.contains(&key.as_str()) && !known.iter().any(|(k, _)| *k == key.as_str()));
        ensure!(odd.is_none(), "nobody here knows what {odd:?} means");
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F", "%t %p", "-c"]);
        command.args([
            "-u",
            text(&consumer, "username")?,
            "-P",
            PASSWORD.1,
            "-i",
            text(&consumer, "client_id")?,
        ]);
        command.args(["-q", &consumer.get("qos").context("no qos")?.to_string()]);
        for topic in list(&consumer, "topics")? {
            command.args(["-t", topic.as_str().context("a topic is no text")?]);
        }
        let process = Process::start(folder, "telegraf", command)?;
        Ok(Self { process, consumer, prefix: prefix()? })
    }

    /// The points of everything that has come.
    ///
    /// # Errors
    /// When something came that Telegraf could not read.
    pub fn points(&mut self) -> anyhow::Result<Vec<Point>> {
        self.process.must_run()?;
        let said = std::fs::read_to_string(self.process.log())?;
        let mut points = Vec::new();
        // The last line may not be all there yet.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        for line in whole.lines().filter(|line| line.starts_with("lectern/")) {
            let (topic, payload) = line.split_once(' ').context("a message without a payload")?;
            let one = |value: &Value| self.point(topic, value).with_context(|| line.to_owned());
            match serde_json::from_str(payload).with_context(|| line.to_owned())? {
                Value::Array(all) => {
                    for value in &all {
                        points.push(one(value)?);
                    }
                }
                value => points.push(one(&value)?),
            }
        }
        Ok(points)
    }

    /// Its JSON parser: numbers flattened by underscores, the time taken out; texts and truths are left out.
    fn point(&self, topic: &str, value: &Value) -> anyhow::Result<Point> {
        let mut flat = BTreeMap::new();
        flatten("", value, &mut flat);
        let time_ms = flat
            .remove(text(&self.consumer, "json_time_key")?)
            .context("JSON time key could not be found")?;
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of this century are exact")]
        let time_ms = time_ms as i64;
        let named = |name: String| name.strip_prefix(&self.prefix).map_or(name.clone(), str::to_owned);
        let fields = flat.into_iter().map(|(name, number)| (named(name), number)).collect();
        let (measurement, tags) = self.parse(topic)?;
        Ok(Point { measurement, tags, time_ms, fields, topic: topic.to_owned() })
    }

    /// Its topic parsing: the first pattern that fits says what each level is.
    fn parse(&self, topic: &str) -> anyhow::Result<(String, BTreeMap<String, String>)> {
        let levels: Vec<&str> = topic.split('/').collect();
        for pattern in list(&self.consumer, "topic_parsing")? {
            let pattern = pattern.as_table().context("a pattern is a table")?;
            let fits: Vec<&str> = text(pattern, "topic")?.split('/').collect();
            if fits.len() != levels.len() || !fits.iter().zip(&levels).all(|(a, b)| *a == "+" || a == b) {
                continue;
            }
            let named = |key: &str| -> anyhow::Result<BTreeMap<String, String>> {
                let names: Vec<&str> = text(pattern, key)?.split('/').collect();
                ensure!(names.len() == levels.len(), "{key} has not the topic's levels");
                let named = names.iter().zip(&levels).filter(|(name, _)| **name != "_");
                Ok(named.map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect())
            };
            let measurement = named("measurement")?.remove("measurement").context("no measurement")?;
            return Ok((measurement, named("tags")?));
        }
        bail!("no pattern fits {topic}")
    }
}

/// The only table at a path of the shipped file.
fn only(path: &[&str]) -> anyhow::Result<Table> {
    let mut table: Table = SHIPPED.parse()?;
    for name in path {
        let found = table.remove(*name).with_context(|| format!("no {name}"))?;
        table = match found {
            Setting::Table(table) => table,
            Setting::Array(mut one) if one.len() == 1 => {
                one.remove(0).as_table().cloned().with_context(|| format!("{name} is no table"))?
            }
            other => bail!("{name} is {other}"),
        };
    }
    Ok(table)
}

fn consumer() -> anyhow::Result<Table> {
    only(&["inputs", "mqtt_consumer"])
}

/// What its string processor takes off the name of every field.
fn prefix() -> anyhow::Result<String> {
    let trim = only(&["processors", "strings", "trim_prefix"])?;
    ensure!(text(&trim, "field_key")? == "*" && trim.len() == 2, "{trim}");
    Ok(text(&trim, "prefix")?.to_owned())
}

fn text<'a>(table: &'a Table, key: &str) -> anyhow::Result<&'a str> {
    table.get(key).and_then(Setting::as_str).with_context(|| format!("{key} is no text"))
}

fn list<'a>(table: &'a Table, key: &str) -> anyhow::Result<&'a Vec<Setting>> {
    table.get(key).and_then(Setting::as_array).with_context(|| format!("{key} is no list"))
}

fn flatten(name: &str, value: &Value, into: &mut BTreeMap<String, f64>) {
    let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}_{key}") };
    match value {
        Value::Object(all) => all.iter().for_each(|(key, value)| flatten(&below(key), value, into)),
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(n, value)| flatten(&below(&n.to_string()), value, into));
        }
        other => into.extend(other.as_f64().map(|number| (name.to_owned(), number))),
    }
}
