//! A school day, played at speed: the real daemon on a machine made of files, the real hub, and clocks that are wound by
//! hand. What the hub's register and its alarms say in the evening is held, line by line, against what a person who
//! stood in the room would have written.
//!
//! ```text
//! 07:59    the room is set up, and started again
//! 第1节    somebody works                                  使用
//! 第2节    the cable is out; a lesson is recorded          使用, 录课; told late
//! 第3节    the mains are cut in the middle                 未知
//! 第4节    the machine is off                              未使用
//! 第5节    back, in 2013; somebody works                   使用, 时钟异常
//! 第6节    nobody is there                                 未使用, 时钟异常
//! after    the clock is right again;
//!          somebody stops the program                      程序被停止
//! ```
//!
//! Next door, in 302教室, a lesson was planned and nothing ever came: 没有记录.
//!
//! The machine's files: `/proc` is as a kernel 6.18 under Debian 12 gave it (`tests/machines/captured`, two processors and
//! one disk, taken once), and it stands still all day but for what is played; the thermometer and the display in `/sys`,
//! which that machine did not have, are written by hand in the form its drivers give them.
//!
//! Two wall clocks by libfaketime, the hub's and the room's; each start of the daemon after a cut is a boot of its own, with
//! its own id and its own time since boot, by namespaces for it alone.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::Zoned;
use lectern_base::clock;
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Cable, Console, FakeClock, Folder, Hands, Hub, Room, copy_folder, eventually};

const PATIENCE: Duration = Duration::from_secs(120);

/// 2013-01-01 00:00 UTC, Unix milliseconds: where a clock with an empty battery begins.
const IN_2013_MS: i64 = 1_356_998_400_000;

/// The day, a Monday in the third week of term.
const DAY: &str = "2026-09-14";

/// Periods of seconds, as other days have of minutes. The breaks are long enough for a slow machine: it is looked at the
/// room every fifteen seconds, and what a break is for must be done before the next bell.
const BELLS: &str = "第1节 08:00:00-08:00:12\n第2节 08:00:50-08:01:06\n第3节 08:01:20-08:02:00\n\
                     第4节 08:20:00-08:20:12\n第5节 08:30:00-08:30:12\n第6节 08:30:44-08:30:56";

const LESSONS: &str = "星期,节次,课程,班级,教师,工号,教室\n\
                       一,第1节,语文,五年级2班,张老师,T1024,301教室\n\
                       一,第1节,音乐,五年级3班,钱老师,,302教室\n\
                       一,第2节,数学,五年级2班,王老师,T1025,301教室\n\
                       一,第3节,英语,五年级2班,李老师,T1026,301教室\n\
                       一,第4节,科学,五年级2班,赵老师,T1027,301教室\n\
                       一,第5节,语文,五年级2班,张老师,T1024,301教室\n\
                       一,第6节,数学,五年级2班,王老师,T1025,301教室\n";

/// The register in the evening: what a person would have written.
const REGISTER: &str = "\
学期,日期,周次,星期,节次,计划开始,计划结束,实际开始,实际结束,教室,班级,学科,课题,教师,工号,使用情况,使用时长（分钟）,使用前设备情况,使用后设备情况,故障说明,是否录课,确认人,确认时间,来源
2026-2027学年第一学期,2026-09-14,3,一,第1节,08:00,08:00:12,08:00,08:00,301教室,五年级2班,语文,,张老师,T1024,使用,0.2,没有告警,没有告警,,否,,,自动
2026-2027学年第一学期,2026-09-14,3,一,第1节,08:00,08:00:12,,,302教室,五年级3班,音乐,,钱老师,,没有记录,,,,,,,,
2026-2027学年第一学期,2026-09-14,3,一,第2节,08:00:50,08:01:06,08:00,08:01,301教室,五年级2班,数学,,王老师,T1025,使用,0.3,没有告警,没有告警,,是,,,自动
2026-2027学年第一学期,2026-09-14,3,一,第3节,08:01:20,08:02,,,301教室,五年级2班,英语,,李老师,T1026,未知,,,,,否,,,自动
2026-2027学年第一学期,2026-09-14,3,一,第4节,08:20,08:20:12,,,301教室,五年级2班,科学,,赵老师,T1027,未使用,0,,,,否,,,自动
2026-2027学年第一学期,2026-09-14,3,一,第5节,08:30,08:30:12,08:30,08:30,301教室,五年级2班,语文,,张老师,T1024,使用,0.2,时钟异常,时钟异常,,否,,,自动
2026-2027学年第一学期,2026-09-14,3,一,第6节,08:30:44,08:30:56,,,301教室,五年级2班,数学,,王老师,T1025,未使用,0,时钟异常,时钟异常,,否,,,自动
";

/// The alarms in the evening, oldest first: what, what is said of it behind the time, and whether it is over.
const ALARMS: [(&str, &str, bool); 3] = [
    ("offline", "以后没有消息，可能断电或断网", true),
    ("clock_wrong", "本机时间是 2013-01-01", true),
    ("agent_stopped", "程序被停止，电脑没有关机", false),
];

/// A moment of the day, Unix milliseconds.
fn at(time: &str) -> i64 {
    let moment: Zoned = format!("{DAY}T{time}+08:00[Asia/Shanghai]").parse().unwrap();
    moment.timestamp().as_millisecond()
}

/// The minute of a moment of the day, as an alarm says it.
fn minute(ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(ms).unwrap().in_tz("Asia/Shanghai").unwrap();
    moment.strftime("%m-%d %H:%M").to_string()
}

/// A program that runs another one with more around it.
fn wrapper(path: PathBuf, script: &str) -> PathBuf {
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path
}

fn assignments(clock: &FakeClock) -> String {
    let env = clock.env().unwrap();
    env.iter().map(|(name, value)| format!("{name}={value:?} ")).collect::<String>() + "TZ=Asia/Shanghai"
}

/// The day as it is played.
struct Played {
    folder: Folder,
    hub: Hub,
    hub_clock: FakeClock,
    room_clock: FakeClock,
    /// How far the day is ahead of the real time, milliseconds.
    ahead_ms: i64,
    /// This boot's id, for the agent.
    boot: PathBuf,
}

impl Played {
    fn now(&self) -> i64 {
        clock::wall_ms() + self.ahead_ms
    }

    /// It is this time now, here and at the hub.
    fn jump(&mut self, time: &str) {
        self.jump_hub(time);
        self.room_clock.set(at(time)).unwrap();
    }

    fn jump_hub(&mut self, time: &str) {
        self.ahead_ms = at(time) - clock::wall_ms();
        self.hub_clock.set(at(time)).unwrap();
    }

    fn until(&self, time: &str) {
        let wait = u64::try_from(at(time) - self.now()).unwrap_or(0);
        std::thread::sleep(Duration::from_millis(wait));
    }

    fn boots(&self, id: &str) {
        std::fs::write(&self.boot, format!("{id}\n")).unwrap();
    }

    /// Waits until the room has written a period's row: its bell has rung, and what comes now belongs to the break.
    fn rung(&self, agent: &Agent, period: &str) {
        let written = || {
            let (said, _) = agent.lectern(&["usage", "--date", DAY]).ok()?;
            said["rows"].as_array()?.iter().any(|row| row["period"] == period).then_some(())
        };
        eventually(PATIENCE, period, written)
            .unwrap_or_else(|e| panic!("{e}\n{}", agent.process.tail_of_log()));
    }

    /// Alarms as the hub has them: code, detail, whether it is over; oldest first.
    fn alarms(&self) -> Vec<(String, String, bool)> {
        let rows = self.hub.rows().unwrap();
        let sql = "SELECT code, detail, cleared_ms IS NOT NULL FROM alarm ORDER BY n";
        let mut statement = rows.prepare(sql).unwrap();
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        found.map(Result::unwrap).collect()
    }

    fn alarm(&self, code: &str, over: bool) {
        let there = || self.alarms().iter().any(|(c, _, o)| c == code && *o == over).then_some(());
        eventually(PATIENCE, code, there).unwrap_or_else(|e| panic!("{e}: {:#?}", self.alarms()));
    }
}

/// A captured machine, with a display that is plugged in and awake, and nothing to complain about.
fn machine(folder: &Folder) -> PathBuf {
    let machine = folder.join("machine");
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("machines/captured"), &machine).unwrap();
    for (path, text) in [
        ("sys/class/hwmon/hwmon0/name", "coretemp\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "51000\n"),
        ("sys/class/drm/card0-HDMI-A-1/status", "connected\n"),
        ("sys/class/drm/card0-HDMI-A-1/enabled", "enabled\n"),
        ("sys/class/drm/card0-HDMI-A-1/dpms", "On\n"),
    ] {
        let path = machine.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    machine
}

/// The programs, in their time and place; none where the kernel gives no namespaces.
fn programs(folder: &Folder, hub: &FakeClock, room: &FakeClock, boot: &Path) -> Option<Programs> {
    let mut programs = Programs::find().unwrap();
    programs.hub =
        wrapper(folder.join("hub-then"), &format!("exec env {} {:?} \"$@\"", assignments(hub), programs.hub));
    // Twenty seconds after power on, by every clock that counts from there.
    let inside = format!(
        "mount --bind {boot:?} /proc/sys/kernel/random/boot_id && exec env {} {:?} \"$@\"",
        assignments(room),
        programs.lectern
    );
    let inside = wrapper(folder.join("lectern-inside"), &inside);
    let script = format!(
        "up=$(($(cut -d. -f1 /proc/uptime) - 20))\n\
         exec unshare --mount --time --boottime -$up --monotonic -$up {inside:?} \"$@\""
    );
    programs.lectern = wrapper(folder.join("lectern-then"), &script);
    let tried = Command::new(&programs.lectern).arg("--version").output().unwrap();
    tried.status.success().then_some(programs)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hub_has_in_the_evening_is_what_a_person_would_have_written() {
    let folder = Folder::new().unwrap();
    let (hub_clock, room_clock) = (
        FakeClock::named(folder.path(), "hub.clock").unwrap(),
        FakeClock::named(folder.path(), "room.clock").unwrap(),
    );
    let boot = folder.join("boot-id");
    std::fs::write(&boot, "evening\n").unwrap();
    let Some(programs) = programs(&folder, &hub_clock, &room_clock, &boot) else {
        lectern_tests::skipped("this kernel gives no namespaces of mounts and time");
        return;
    };
    for clock in [&hub_clock, &room_clock] {
        clock.set(at("07:50:00")).unwrap();
    }
    let settings = "[alarms]\naway_minutes = 1\n";
    let (mut hub, password) = Hub::start_at(&folder, &programs, "127.0.0.1", settings).unwrap();
    let console = Console::admin(&hub).await.unwrap();
    console.add_device("room-302", "302教室").await.unwrap();
    console.set_timetable("2026-08-31", BELLS, LESSONS).await.unwrap();

    let (web, broker) = (Cable::to(hub.http).unwrap(), Cable::to(hub.mqtt).unwrap());
    let mut room = Room::card();
    room.sense = format!("host = {:?}\n", machine(&folder));
    room.usage = "used_after_s = 10\ninput_counts_s = 30\n".into();
    room.sources += "[school_day]\npreflight_before_bell_min = 0\n\
                     [alarm]\ndisk_minutes = 1\ndisk_used_pct = 100\nround_trip_ms = 60000\nresent_pct = 100\n";
    (hub.door, hub.mqtt) = (Some(format!("http://127.0.0.1:{}", web.port)), broker.port);
    let mut day = Played { folder, hub, hub_clock, room_clock, ahead_ms: 0, boot };

    // Set up, and started again: the timetable is there from the first moment of the day.
    day.jump("07:59:20");
    let mut agent = Agent::start(&day.folder, &programs, &room, &day.hub, &password).unwrap();
    let hands = Hands::at(agent.data.join("run/session.sock"));
    let named = || (agent.status().ok()?["slot"]["about"]["teacher"] == "张老师").then_some(());
    eventually(PATIENCE, "the timetable", named)
        .unwrap_or_else(|e| panic!("{e}\n{}", agent.process.tail_of_log()));
    agent.process.stop();
    day.boots("monday-1");
    day.jump("07:59:50");
    agent.restart(&day.folder).unwrap();

    hands.work(true);
    day.rung(&agent, "第1节");
    // The cable is out, nobody touches anything, and a lesson is recorded.
    hands.work(false);
    web.pull();
    broker.pull();
    agent.press("start").unwrap();
    agent.wait_for(&["recording"], PATIENCE).unwrap();
    day.rung(&agent, "第2节");
    agent.press("stop").unwrap();
    web.put_back();
    broker.put_back();
    // Nobody is there yet when the mains are cut.
    day.until("08:01:26");
    agent.process.kill();
    let cut = day.now();
    hands.rest();
    day.jump("08:28:00");
    day.alarm("offline", false);

    // Back, with an empty battery.
    day.jump_hub("08:29:25");
    day.room_clock.set(IN_2013_MS).unwrap();
    day.boots("monday-2");
    agent.restart(&day.folder).unwrap();
    hands.work(true);
    day.alarm("clock_wrong", false);
    day.alarm("offline", true);
    day.rung(&agent, "第5节");
    hands.work(false);
    day.rung(&agent, "第6节");
    // The time service has found the network.
    day.room_clock.set(day.now()).unwrap();
    day.alarm("clock_wrong", true);

    // Somebody stops the program, and nobody starts it again.
    let mut stopped = vec![minute(day.now())];
    agent.process.stop();
    stopped.push(minute(day.now()));
    day.jump("08:34:00");
    day.alarm("agent_stopped", false);
    day.jump("16:00:00");

    let file = console.get(&format!("/usage/export/usage.csv?from={DAY}&to={DAY}")).await.unwrap();
    let text = file.text().await.unwrap();
    let (found, wanted): (Vec<_>, Vec<_>) =
        (text.trim_start_matches('\u{feff}').lines().collect(), REGISTER.lines().collect());
    assert_eq!(found, wanted, "the register\n{text}\n{}", agent.process.tail_of_log());
    let every = console
        .get("/usage/export/usage.csv?from=2025-09-14&to=2026-09-13")
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(every.lines().count(), 1, "no clock that was wrong wrote a row of another day: {every}");
    let rows: i64 =
        day.hub.rows().unwrap().query_row("SELECT count(*) FROM usage", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 6, "nor of a day to come");

    let alarms = day.alarms();
    let told: Vec<_> = alarms.iter().map(|(code, _, over)| (code.as_str(), *over)).collect();
    assert_eq!(told, ALARMS.map(|(code, _, over)| (code, over)), "{alarms:#?}");
    for ((_, detail, _), (code, wanted, _)) in alarms.iter().zip(ALARMS) {
        assert!(detail.contains(wanted), "{code}: {detail}");
    }
    // The last that was heard of it may be from before the cable was out; later than the cut it is not.
    let heard = [at("08:00:00"), cut].map(minute);
    assert!((heard[0].as_str()..=heard[1].as_str()).contains(&&alarms[0].1[..11]), "{alarms:#?}");
    assert!(stopped.iter().any(|minute| alarms[2].1.starts_with(minute)), "{stopped:?}: {alarms:#?}");
    // The evening as the pages show it.
    let page = console.page(&format!("/usage?from={DAY}&to={DAY}")).await.unwrap();
    for word in ["第 3 周", "没有记录", "未知", "时钟异常"] {
        assert!(page.contains(word), "{word} is missing in {page}");
    }
    let page = console.page("/indicators?month=2026-09").await.unwrap();
    // Used in two lessons and a third, not in two; one unknown, one without a record.
    assert!(page.contains("3 / 5") && page.contains("1 节没有记录"), "{page}");
}
