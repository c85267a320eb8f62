//! Through every broker each event reaches the hub once, and what could not is declared: Mosquitto and RabbitMQ with the
//! rules that ship, killed and frozen, and one that acknowledges late, twice, backwards, hangs up, refuses and forgets. The
//! broker inside the hub is tried in tests/telemetry.rs. At Mosquitto a lesson goes on meanwhile, and Telegraf looks on.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use lectern_tests::bad_broker::{Acks, Manners, Said};
use lectern_tests::broker::{HUB, settings};
use lectern_tests::process::output;
use lectern_tests::programs::Programs;
use lectern_tests::school::{DEVICE, SCHOOL};
use lectern_tests::series::telling;
use lectern_tests::{
    Agent, BadBroker, Broker, Console, Folder, Hub, Room, Series, Telegraf, eventually, free_port, telegraf,
};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// A room, a hub, and a broker between them. Fields end in the order they stand here.
struct Way {
    agent: Agent,
    hub: Hub,
    http: reqwest::Client,
    /// Reports so far.
    reports: u32,
    series: Series,
    folder: Folder,
}

impl Way {
    /// Makes the hub, has the broker started with the room's password, and starts the room.
    fn new<B>(port: u16, broker: impl FnOnce(&Folder, &[(&str, &str)]) -> B) -> (Self, B) {
        let folder = Folder::new().unwrap();
        let programs = Programs::find().unwrap();
        let beside = settings(&folder, port, "").unwrap();
        let (hub, password) = Hub::start_at(&folder, &programs, "127.0.0.1", &beside).unwrap();
        assert_eq!(hub.mqtt, port, "rooms are told the broker's port");
        let broker = broker(&folder, &[(DEVICE, &password)]);
        // What is said before the hub has called for the first time waits for nobody.
        let called = || {
            std::fs::read_to_string(hub.process.log())
                .ok()?
                .contains("connected to the broker broker")
                .then_some(())
        };
        eventually(PATIENCE, "the hub at the broker", called).unwrap();
        let agent = Agent::start(&folder, &programs, &telling(Room::card()), &hub, &password).unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let way = Self { agent, hub, http, reports: 0, series: Series::default(), folder };
        way.wait_for_state("online");
        (way, broker)
    }

    /// The teacher reports so many faults: an event each, without a recording.
    async fn report(&mut self, n: u32) {
        for _ in 0..n {
            self.reports += 1;
            let body = serde_json::json!({ "id": format!("{:016x}", self.reports), "text": "投影不亮" });
            let url = format!("{}api/repair", self.agent.page().unwrap());
            let answer = self.http.post(url).header("x-lectern", "1").json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
    }

    /// The reports the hub has, by number.
    fn reported(&self) -> Vec<i64> {
        let rows = self.hub.rows().unwrap();
        let mut rows =
            rows.prepare("SELECT seq FROM event WHERE device = ? AND kind = 'repair' ORDER BY seq").unwrap();
        rows.query_map([DEVICE], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn wait_for_reports(&mut self, what: &str) {
        let want = self.reports as usize;
        let there = eventually(PATIENCE, what, || (self.reported().len() >= want).then_some(()));
        assert!(
            there.is_ok(),
            "{what}: {} of {want} reports are there\n{}\n{}",
            self.reported().len(),
            self.agent.process.tail_of_log(),
            self.hub.process.tail_of_log()
        );
    }

    fn state(&self) -> String {
        let sql = "SELECT coalesce(state, '') FROM device WHERE id = ?";
        self.hub.rows().unwrap().query_row(sql, [DEVICE], |row| row.get(0)).unwrap()
    }

    fn wait_for_state(&self, want: &str) {
        let found = eventually(PATIENCE, want, || (self.state() == want).then_some(()));
        let logs = || format!("{}\n{}", self.agent.process.tail_of_log(), self.hub.process.tail_of_log());
        assert!(found.is_ok(), "it is {:?}, not {want:?}\n{}", self.state(), logs());
    }

    fn samples(&self) -> i64 {
        count(&self.hub.rows().unwrap(), "SELECT count(*) FROM sample")
    }

    fn outbox(&self, flags: OpenFlags) -> Connection {
        let rows = Connection::open_with_flags(self.agent.data.join("outbox.db"), flags).unwrap();
        rows.busy_timeout(Duration::from_secs(5)).unwrap();
        rows
    }

    /// Rows the outbox ever held in a table, and rows still in it.
    fn ever_and_now(&self, table: &str) -> (i64, i64) {
        let rows = self.outbox(OpenFlags::SQLITE_OPEN_READ_ONLY);
        let ever = format!("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0)");
        (count(&rows, &ever), count(&rows, &format!("SELECT count(*) FROM {table}")))
    }

    /// Everything has arrived; the room says goodbye. Its numbers are at the hub, without a hole, each once.
    fn settle(&mut self) {
        let drained = eventually(PATIENCE, "an empty outbox", || {
            (self.ever_and_now("events").1 == 0 && self.ever_and_now("samples").1 <= 4).then_some(())
        });
        assert!(drained.is_ok(), "{:?} {:?}", self.ever_and_now("events"), self.ever_and_now("samples"));
        self.agent.process.stop();
        self.wait_for_state("offline");
        let (ever, left) = self.ever_and_now("events");
        assert_eq!(left, 0);
        let rows = self.hub.rows().unwrap();
        let mut rows = rows.prepare("SELECT seq FROM event WHERE device = ? ORDER BY epoch, seq").unwrap();
        let seqs: Vec<i64> =
            rows.query_map([DEVICE], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(seqs, (1..=ever).collect::<Vec<_>>(), "each number once, none missing");
        assert_eq!(self.reported().len(), self.reports as usize);
    }

    /// Every sample that the room took is at the hub or still with it.
    fn no_sample_is_missing(&self) {
        let mut last = None;
        let all = eventually(PATIENCE, "every sample", || {
            last = self.series.compare(&self.agent, &self.hub).err();
            last.is_none().then_some(())
        });
        assert!(all.is_ok(), "{last:?}");
    }

    /// What befalls the hub of a room whose broker is a good one, and the broker; a lesson may go on meanwhile.
    async fn through_a_day(&mut self, broker: &mut Broker) {
        self.report(5).await;
        self.wait_for_reports("reports on a quiet line");

        self.hub.process.kill();
        self.report(3).await;
        let before = self.samples();
        std::thread::sleep(Duration::from_secs(5));
        self.hub.restart(&self.folder).unwrap();
        self.wait_for_reports("what was said while the hub was away");
        let more = eventually(PATIENCE, "samples", || (self.samples() >= before + 4).then_some(()));
        more.unwrap();
        self.wait_for_state("online");

        broker.wait_until_written().unwrap();
        broker.process.kill();
        self.report(3).await;
        // Long enough for samples to be committed: those that the broker has at once never are.
        std::thread::sleep(Duration::from_secs(8));
        broker.restart(&self.folder).unwrap();
        self.wait_for_reports("what was said while the broker was dead");

        // It takes connections and bytes, and answers nothing.
        broker.process.freeze();
        self.report(3).await;
        std::thread::sleep(Duration::from_secs(5));
        assert!(self.reported().len() < self.reports as usize, "it is frozen");
        broker.process.thaw();
        self.wait_for_reports("what was said while the broker was frozen");
    }

    /// The room dies and comes back; then everything is where it belongs.
    fn ends_the_day(&mut self) {
        self.series.kill(&mut self.agent).unwrap();
        self.wait_for_state("lost");
        self.agent.restart(&self.folder).unwrap();
        self.wait_for_state("online");
        self.settle();
        self.no_sample_is_missing();
    }

    /// The hub's sample of a group and a time: its numbers by their names.
    fn sample(&self, group: &str, ts: i64) -> Option<BTreeMap<String, f64>> {
        let sql = "SELECT vals FROM sample WHERE device = ? AND grp = ? AND ts = ?";
        let rows = self.hub.rows().unwrap();
        let text: String = rows.query_row(sql, (DEVICE, group, ts), |row| row.get(0)).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }
}

fn count(rows: &Connection, sql: &str) -> i64 {
    rows.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn through_mosquitto_with_the_shipped_rules_everything_arrives_once() {
    let port = free_port().unwrap();
    let user = Telegraf::user().unwrap();
    let (mut way, (mut broker, mut telegraf)) = Way::new(port, |folder, users| {
        let users = [users, &[(&user, telegraf::PASSWORD.1)]].concat();
        (Broker::mosquitto(folder, port, &users).unwrap(), Telegraf::start(folder, port).unwrap())
    });
    way.agent.press("start").unwrap();
    way.through_a_day(&mut broker).await;
    way.agent.wait_for_media(25_000, PATIENCE).unwrap();
    let lesson = heads_are_out(&way, port, 3);
    way.agent.press("stop").unwrap();
    way.agent.wait_for(&["stored"], PATIENCE).unwrap();
    assert_eq!(heads_are_out(&way, port, 4), lesson);
    // In good order too: what it had acknowledged it still has.
    way.report(2).await;
    broker.restart(&way.folder).unwrap();
    way.wait_for_reports("what was said while the broker restarted");
    way.ends_the_day();
    telegraf_has_what_the_hub_has(&way, &mut telegraf);
}

/// The lesson is signed every ten seconds, so that it has so many heads by now; the newest is kept by the broker for
/// whoever comes later. Gives the lesson.
fn heads_are_out(way: &Way, port: u16, least: usize) -> String {
    let lesson = way.agent.status().unwrap()["lesson"]["id"].as_str().unwrap().to_owned();
    let file = way.agent.data.join("lessons").join(&lesson).join("heads.jsonl");
    let own = || -> Vec<Value> {
        let lines = std::fs::read_to_string(&file).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let heads = own();
    assert!(heads.len() >= least, "{} heads: {heads:#?}", heads.len());
    let at =
        |line: &Value| ["mono_ms", "bytes"].map(|field| line["head"]["document"][field].as_u64().unwrap());
    assert!(heads.windows(2).all(|two| at(&two[0]) < at(&two[1])), "each later and further: {heads:#?}");
    let topic = format!("lectern/v1/{SCHOOL}/{DEVICE}/chain");
    let kept = || {
        let mut sub = Command::new("mosquitto_sub");
        sub.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-u", HUB.0, "-P", HUB.1, "-t", &topic]);
        sub.args(["--retained-only", "-C", "1", "-W", "20"]);
        let kept: Value = serde_json::from_slice(&output(sub).ok()?).ok()?;
        // One that was signed this moment may be on its way.
        (own().last()?["head"] == kept).then_some(())
    };
    eventually(PATIENCE, "the newest head, retained", kept).unwrap();
    lesson
}

/// Every point is one of the hub's samples, with its name, its time and all its numbers; of every group some, and some of
/// what had waited.
fn telegraf_has_what_the_hub_has(way: &Way, telegraf: &mut Telegraf) {
    let points = telegraf.points().unwrap();
    let tags =
        BTreeMap::from([("school", SCHOOL), ("device", DEVICE)].map(|(k, v)| (k.to_owned(), v.to_owned())));
    for point in &points {
        assert_eq!(point.tags, tags);
        let sample = way.sample(&point.measurement, point.time_ms);
        assert_eq!(Some(&point.fields), sample.as_ref(), "{point:?}");
    }
    let groups: BTreeSet<_> = points.iter().map(|point| point.measurement.as_str()).collect();
    assert_eq!(groups, BTreeSet::from(["agent", "av", "net", "rec", "sys"]));
    assert!(points.iter().any(|point| point.topic.contains("/h/")), "what had waited too");
}

#[tokio::test(flavor = "multi_thread")]
async fn through_rabbitmq_with_the_shipped_rules_everything_arrives_once() {
    let port = free_port().unwrap();
    let (mut way, mut broker) =
        Way::new(port, |folder, users| Broker::rabbitmq(folder, port, users).unwrap());
    way.through_a_day(&mut broker).await;
    way.ends_the_day();
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_broker_that_does_everything_wrong_every_event_arrives_once() {
    let broker = BadBroker::start().unwrap();
    // Nothing it does is mended by a ping that is answered.
    let bad = Manners { no_pings: true, ..Manners::default() };
    broker.set(bad);
    let (mut way, broker) = Way::new(broker.port, |_, _| broker);
    let late = Acks::Late(Duration::from_millis(1500));
    for (what, manners) in [
        ("acknowledges late", Manners { acks: late, ..bad }),
        ("acknowledges twice", Manners { acks: Acks::Twice, ..bad }),
        ("acknowledges backwards", Manners { acks: Acks::Backwards, ..bad }),
        ("delivers twice", Manners { twice: true, ..bad }),
    ] {
        broker.set(manners);
        way.report(4).await;
        way.wait_for_reports(what);
        let before = way.samples();
        eventually(PATIENCE, what, || (way.samples() >= before + 4).then_some(())).unwrap();
    }
    broker.set(Manners { kicks: 4, ..bad });
    broker.hang_up();
    way.report(4).await;
    way.wait_for_reports("hangs up after connecting");
    assert_eq!(broker.kicked(), 4);
    let (_, left) = way.ever_and_now("samples");
    assert!(left < 100, "{left} samples wait");

    broker.set(Manners { forgets: true, ..bad });
    broker.hang_up();
    way.report(4).await;
    way.wait_for_reports("loses the session");
    assert!(broker.forgot() >= 2, "the hub's session and the room's");
    let console = Console::stranger(&way.hub).unwrap();
    let told = console.page("/metrics").await.unwrap();
    let told = told.lines().find_map(|line| line.strip_prefix("lectern_hub_broker_forgot_total "));
    assert!(told.unwrap().parse::<u32>().unwrap() >= 1, "what may be lost with it is said");
    broker.set(bad);
    way.settle();
}

/// Writes samples of the past into the outbox of a room that is switched off, as its own are; gives how many.
fn fill(way: &mut Way, rounds: i64) -> i64 {
    let rows = way.outbox(OpenFlags::SQLITE_OPEN_READ_WRITE);
    let mut made = 0;
    for group in ["sys", "net"] {
        let sql = "SELECT vals FROM sample WHERE grp = ? ORDER BY ts DESC LIMIT 1";
        let values: String = way.hub.rows().unwrap().query_row(sql, [group], |row| row.get(0)).unwrap();
        for n in 0..rounds {
            let ts = lectern_base::clock::wall_ms() - 3_600_000 - (rounds - n) * 30_000;
            let sample = format!("{{\"ts\":{ts},\"values\":{values}}}");
            let insert = "INSERT INTO samples (grp, ts, sample) VALUES (?, ?, ?)";
            rows.execute(insert, (group, ts, sample)).unwrap();
            way.series.plant(group, ts);
            made += 1;
        }
    }
    made
}

/// Times of the samples in a message.
fn times(said: &Said) -> Vec<i64> {
    let value: Value = serde_json::from_slice(&said.payload).unwrap();
    match value {
        Value::Array(all) => all.iter().map(|sample| sample["ts"].as_i64().unwrap()).collect(),
        one => vec![one["ts"].as_i64().unwrap()],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_comes_oldest_first_behind_the_present_and_in_pieces_a_small_broker_takes() {
    let broker = BadBroker::start().unwrap();
    let (mut way, broker) = Way::new(broker.port, |_, _| broker);
    eventually(PATIENCE, "samples", || (way.samples() >= 6).then_some(())).unwrap();

    way.agent.process.stop();
    way.wait_for_state("offline");
    let made = fill(&mut way, 400);
    let (before, heard) = (way.samples(), broker.said().len());
    let began = lectern_base::clock::wall_ms();
    way.agent.restart(&way.folder).unwrap();
    eventually(PATIENCE, "all of it", || (way.samples() >= before + made).then_some(())).unwrap();
    let said: Vec<Said> = broker.said().split_off(heard);
    let level = |said: &Said| said.topic.split('/').nth(4).unwrap_or_default().to_owned();
    let first = said.iter().position(|s| level(s) == "h").unwrap();
    let last = said.iter().rposition(|s| level(s) == "h").unwrap();
    assert!(said[..first].iter().any(|s| level(s) == "m"), "a sample of now before any history");
    let fresh = said[first..last].iter().filter(|s| level(s) == "m" && times(s)[0] > began).count();
    assert!(fresh >= 2, "what is measured meanwhile does not wait for the past: {fresh}");
    let mut past: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for batch in said.iter().filter(|s| level(s) == "h") {
        past.entry(batch.topic.clone()).or_default().extend(times(batch));
    }
    assert!(past.values().all(|times| times.is_sorted()) && past.len() >= 2, "oldest first, each group");
    assert!(said.iter().all(|s| s.payload.len() <= 16 * 1024));

    // Now one that takes no message of the usual size.
    way.agent.process.stop();
    way.wait_for_state("offline");
    let made = fill(&mut way, 60);
    let before = way.samples();
    let largest = said.iter().filter(|s| level(s) != "h").map(|s| s.payload.len()).max().unwrap();
    broker.set(Manners { most: largest + 2500, ..Manners::default() });
    way.agent.restart(&way.folder).unwrap();
    eventually(PATIENCE, "all of it", || (way.samples() >= before + made).then_some(())).unwrap();
    assert!(broker.refused() >= 1, "it was asked too much at first");
    way.report(3).await;
    way.wait_for_reports("reports");
    way.settle();
    way.no_sample_is_missing();
}
