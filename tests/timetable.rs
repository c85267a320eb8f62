//! A timetable on its way: imported at the hub, looked at, applied, handed down, gone by in the room, kept over a
//! restart, and a lesson taken off for today.

use std::time::Duration;

use lectern_base::clock;
use lectern_tests::browser::Browser;
use lectern_tests::browser::pictures;
use lectern_tests::school::SCHOOL;
use lectern_tests::{Console, Room, School, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

fn slot(school: &School) -> Value {
    school.agent.status().map(|status| status["slot"].clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timetable_from_a_file_is_looked_at_applied_whole_and_gone_by_in_the_room() {
    let mut school = School::start(&Room::card()).unwrap();
    let console = Console::admin(&school.hub).await.unwrap();
    let today = clock::local(clock::wall_ms()).date();
    let bells = [("school", SCHOOL), ("first_monday", ""), ("offset", "0"), ("bells", "第1节 00:00-23:59")];
    let saved = console.post("/timetable/bells", &bells).await.unwrap();
    assert!(saved.status().is_redirection() || saved.status().is_success(), "{}", saved.status());

    let wrong = "星期,节次,课程,班级,教室\n八,第1节,语文,五年级2班,301教室\n";
    let refused = console.import_timetable("课表.csv", wrong.as_bytes()).await.unwrap();
    assert!(refused.contains("没有导入") && refused.contains("2"), "{refused}");
    let day = ["一", "二", "三", "四", "五", "六", "日"]
        [usize::try_from(today.weekday().to_monday_zero_offset()).unwrap()];
    let rows = format!(
        "星期,节次,课程,班级,教师,工号,教室\n{day},第1节,语文,五年级2班,张老师,T1024,301教室\n\
         {day},第1节,数学,五年级3班,王老师,T7,不在的教室\n"
    );
    let seen = console.import_timetable("课表.csv", rows.as_bytes()).await.unwrap();
    assert!(seen.contains("没有冲突") && seen.contains("不在的教室"), "{seen}");
    // The bells were saved above: the period is on, and nobody teaches in it yet.
    assert_eq!(slot(&school)["about"]["teacher"], Value::Null, "looked at is not applied");
    let token = seen.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let applied = console.post("/timetable/apply", &[("token", &token)]).await.unwrap();
    assert!(applied.status().is_redirection() || applied.status().is_success(), "{}", applied.status());

    let named = || (slot(&school)["about"]["teacher"] == "张老师").then_some(());
    eventually(PATIENCE, "the lesson on the room's page", named).unwrap();
    assert_eq!(slot(&school)["about"]["class"], "五年级2班");
    let in_use = || {
        let page = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(console.page("/timetable"))
        });
        page.ok()?.contains("版在用").then_some(())
    };
    eventually(PATIENCE, "the room's word about it", in_use).unwrap();
    let browser = Browser::start(&school.folder, "timetable").await.unwrap();
    browser.open(&format!("{}/timetable", school.hub.url())).await.unwrap();
    browser.type_into("input[name=password]", &school.hub.admin_password).await.unwrap();
    browser.click("button").await.unwrap();
    browser.wait_text("h1", "课表", PATIENCE).await.unwrap();
    browser.screenshot(&pictures().unwrap().join("console-timetable.png")).await.unwrap();

    // Kept by the room: it goes by it while the hub is away.
    school.hub.process.kill();
    school.agent.restart(&school.folder).unwrap();
    let named = || (slot(&school)["about"]["teacher"] == "张老师").then_some(());
    eventually(PATIENCE, "the lesson after a restart without a hub", named).unwrap();
    school.hub.restart(&school.folder).unwrap();

    let console = Console::admin(&school.hub).await.unwrap();
    let date = today.to_string();
    let off = [("school", SCHOOL), ("kind", "off"), ("one", &date), ("other", "")];
    let made = console.post("/timetable/changes", &off).await.unwrap();
    assert!(made.status().is_redirection() || made.status().is_success(), "{}", made.status());
    let gone = || slot(&school)["about"]["teacher"].is_null().then_some(());
    eventually(PATIENCE, "a day without lessons", gone).unwrap();
}
