//! The school day around a lesson: the timetable and its bell, the look at the sources before, and what
//! people do with a lesson afterwards. Pictures of the page are left in `target/pictures`, to be looked at.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::time::Duration;

use lectern_base::clock;
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Browser, Folder, Hub, Room, World, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// A timetable whose only period is on now and ends in `left`, with a lesson that ends by itself so many seconds after it;
/// the bell's seconds are an offset.
fn timetable(folder: &Folder, left: Duration, end_after_bell_s: u32) -> String {
    let end = clock::local(clock::wall_ms() + i64::try_from(left.as_millis()).unwrap());
    let text = format!(
        "bell_offset_s = {}\n[[period]]\nname = \"第3节\"\nstart = \"00:00\"\nend = \"{}\"\n\
         [[lesson]]\nweekday = {}\nperiod = \"第3节\"\nclass = \"五年级2班\"\nsubject = \"语文\"\nteacher = \"张老师\"\n",
        end.second(),
        end.strftime("%H:%M"),
        end.weekday().to_monday_one_offset(),
    );
    let path = folder.path().join("timetable.toml");
    std::fs::write(&path, text).unwrap();
    format!("[school_day]\ntimetable = {path:?}\nend_after_bell_s = {end_after_bell_s}\n")
}

#[tokio::test]
async fn the_timetable_names_the_lesson_and_its_bell_ends_it_unless_it_is_put_off() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut room = Room::card();
    let browser = Browser::start(&folder, "bell").await.unwrap();
    // Long enough for a slow machine to show the lesson, and for a hand to put its end off.
    room.sources += &timetable(&folder, Duration::from_secs(60), 40);
    let agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    let pictures = lectern_tests::browser::pictures().unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.wait_text("#big", "第3节 · 语文 · 五年级2班", PATIENCE).await.unwrap();
    browser.wait_text("#small", "张老师", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("page-idle-slot.png")).await.unwrap();
    browser.click("#do-start").await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    browser.wait_text("#big", "已下课，录课将在", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("page-bell.png")).await.unwrap();
    // Put off: the lesson goes on, and its end is a good deal later.
    browser.click("#do-extend").await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    let status = agent.status().unwrap();
    assert!(status["lesson"]["bell"]["ends_in_ms"].as_u64().unwrap() > 9 * 60_000);
    assert_eq!(status["lesson"]["about"]["teacher"], "张老师");
    agent.press("stop").unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    drop(agent);

    let folder = Folder::new().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut room = Room::card();
    room.sources += &timetable(&folder, Duration::from_secs(30), 8);
    let agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    agent.press("start").unwrap();
    // Nobody comes back to the lectern.
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    assert_eq!(status["lesson"]["cut_short"], Value::Null, "the bell's end is an end in order");
    assert!(status["lesson"]["media_ms"].as_u64().unwrap() > 8000);
}

#[tokio::test]
async fn a_lesson_that_a_power_cut_ended_is_kept_or_recorded_again() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    agent.lectern(&["record", "start", "--topic", "草船借箭"]).unwrap();
    let status = agent.wait_for_media(3000, PATIENCE).unwrap();
    let id = status["lesson"]["id"].as_str().unwrap().to_owned();
    agent.process.kill();
    for pid in agent.recorders(&folder) {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
    }
    // What a restart of the machine leaves: a lesson of another boot.
    let db = rusqlite::Connection::open(agent.data.join("state.db")).unwrap();
    db.execute("UPDATE lessons SET boot_id = 'the one before'", []).unwrap();
    drop(db);
    agent.restart(&folder).unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    let browser = Browser::start(&folder, "cut").await.unwrap();
    let pictures = lectern_tests::browser::pictures().unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.wait_text("#big", "这节没有录完整", PATIENCE).await.unwrap();
    browser.wait_text("#small", "断电", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("page-cut-short.png")).await.unwrap();
    browser.click("#do-again").await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    let status = agent.wait_for_media(1000, PATIENCE).unwrap();
    assert_ne!(status["lesson"]["id"], id.as_str());
    assert_eq!(status["lesson"]["about"]["topic"], "草船借箭", "the words need not be said again");
    agent.press("stop").unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    let rows = agent.lectern(&["lessons"]).unwrap().0;
    let states: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["stored", "stored"], "the first one is kept");
}

#[tokio::test]
async fn before_the_press_the_page_says_which_source_fails_and_lets_the_teacher_start_anyway() {
    let mut world = World::start().unwrap();
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    world.sound.keep_speaking(Duration::from_millis(200)).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::of(&world, true), &hub, &password).unwrap();
    // A source that is late on a busy machine is looked at again.
    let found = eventually(PATIENCE, "sources that are all good", || {
        let (found, code) = agent.lectern(&["preflight"]).ok()?;
        (code == 0).then_some(found)
    });
    assert_eq!(found.unwrap()["sources"].as_array().unwrap().len(), 3);

    world.sound.hush();
    eventually(PATIENCE, "a microphone alone that is not", || {
        let (found, code) = agent.lectern(&["preflight"]).ok()?;
        let good = |kind: &str| {
            found["sources"].as_array()?.iter().find(|s| s["name"] == kind).map(|s| s["state"] == "good")
        };
        (code != 0 && good("camera")? && good("screen")?).then_some(())
    })
    .unwrap();
    let browser = Browser::start(&folder, "preflight").await.unwrap();
    let pictures = lectern_tests::browser::pictures().unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.wait_text("#big", "话筒没有声音", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("page-no-sound.png")).await.unwrap();
    browser.click("#do-cancel").await.unwrap();
    browser.wait_text("#big", "可以录课", PATIENCE).await.unwrap();

    world.camera.stop();
    agent.lectern(&["preflight"]).unwrap();
    browser.wait_text("#big", "摄像头没有画面", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("page-no-camera.png")).await.unwrap();
    browser.click("#do-anyway").await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    assert!(agent.lectern(&["preflight"]).is_err(), "not while a lesson is being recorded");
    agent.press("stop").unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
}

#[tokio::test]
async fn afterwards_a_lesson_is_described_put_forward_or_thrown_away_and_a_fault_is_reported() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let record = || {
        agent.press("start").unwrap();
        agent.wait_for_media(2000, PATIENCE).unwrap();
        agent.press("stop").unwrap();
        let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
        status["lesson"]["id"].as_str().unwrap().to_owned()
    };
    let kept = record();
    let manifest = std::fs::read(hub.lesson_folder(&kept).join("manifest.json")).unwrap();
    let browser = Browser::start(&folder, "afterwards").await.unwrap();
    let pictures = lectern_tests::browser::pictures().unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.wait_text("#big", "已存入学校资源库", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("page-stored-more.png")).await.unwrap();

    browser.click("#do-amend").await.unwrap();
    browser.type_into("#panel input[name=topic]", "草船借箭").await.unwrap();
    browser.screenshot(&pictures.join("page-amend.png")).await.unwrap();
    browser.click("#panel-go").await.unwrap();
    eventually(PATIENCE, "the topic on the page", || {
        (agent.status().ok()?["lesson"]["about"]["topic"] == "草船借箭").then_some(())
    })
    .unwrap();

    browser.click("#do-submit").await.unwrap();
    browser.wait_text("#panel select[name=point]", "A5", PATIENCE).await.unwrap();
    browser
        .run("const s = document.querySelector('#panel select[name=point]'); s.value = 'A5';")
        .await
        .unwrap();
    browser.screenshot(&pictures.join("page-submit.png")).await.unwrap();
    browser.click("#panel-go").await.unwrap();
    browser.wait_text("#small", "已提交：微能力2.0 A5", PATIENCE).await.unwrap();
    browser.click("#do-discard").await.unwrap();
    browser.click("#panel-go").await.unwrap();
    browser.wait_text("#panel-problem", "已经提交认证", PATIENCE).await.unwrap();
    browser.click("#panel-cancel").await.unwrap();

    browser.click("#do-repair").await.unwrap();
    browser.type_into("#panel input[name=text]", "投影有时不亮").await.unwrap();
    browser.screenshot(&pictures.join("page-repair.png")).await.unwrap();
    browser.click("#panel-go").await.unwrap();
    browser.wait_text("#panel-text", "已经报修", PATIENCE).await.unwrap();
    browser.click("#panel-cancel").await.unwrap();
    assert_eq!(
        std::fs::read(hub.lesson_folder(&kept).join("manifest.json")).unwrap(),
        manifest,
        "evidence stays"
    );

    let gone = record();
    browser.wait_text("#big", "已存入学校资源库", PATIENCE).await.unwrap();
    // A clip of it goes with it.
    let (asked, code) = agent.lectern(&["clip", "make", &gone, "--from", "0:00", "--to", "0:02"]).unwrap();
    assert_eq!(code, 0, "{asked}");
    let clips = || {
        let entries = std::fs::read_dir(agent.data.join("clips")).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let ready = || clips().iter().any(|name| name.ends_with(".mp4")).then_some(());
    eventually(PATIENCE, "a clip of the lesson", ready).unwrap();
    browser.click("#do-discard").await.unwrap();
    browser.screenshot(&pictures.join("page-discard.png")).await.unwrap();
    browser.click("#panel-go").await.unwrap();
    browser.wait_text("#big", "这节已经删除", PATIENCE).await.unwrap();
    // The decision is shown before the deed.
    eventually(PATIENCE, "its bytes gone here, and with them the clip made of it", || {
        let list = agent.lectern(&["clip", "list"]).ok()?.0["clips"].as_array()?.len();
        let gone = !agent.data.join("lessons").join(&gone).exists();
        (gone && clips().is_empty() && list == 0).then_some(())
    })
    .unwrap();
    eventually(PATIENCE, "its bytes gone at the hub", || {
        (!hub.lesson_folder(&gone).join("take-1.mp4").exists()).then_some(())
    })
    .unwrap();
    let rows = agent.lectern(&["lessons"]).unwrap().0;
    let row = rows.as_array().unwrap().iter().find(|row| row["id"] == gone.as_str()).unwrap();
    assert!(row["state"] == "discarded" && row["manifest_sha256"].is_string(), "the hash is kept: {row}");
    assert!(agent.verify(&hub.lesson_folder(&kept)).unwrap()["sound"] == true);
}
