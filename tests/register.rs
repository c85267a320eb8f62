//! The use register from the room to paper: a lesson in which somebody worked, its line at the hub in a real browser, a
//! correction there, a teacher's word that comes later, both exports read back, and what 指标 make of it.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::io::Cursor;
use std::time::Duration;

use calamine::{Data, Reader as _, Xlsx};
use jiff::ToSpan as _;
use lectern_base::clock;
use lectern_tests::browser::pictures;
use lectern_tests::school::DEVICE;
use lectern_tests::{Browser, Console, Folder, Hands, Room, School, eventually};

const PATIENCE: Duration = Duration::from_secs(120);

/// A room with a display that is awake, in which twelve seconds of work are use.
fn room(folder: &Folder) -> Room {
    let machine = folder.make("machine").unwrap();
    let connector = machine.join("sys/class/drm/card0-HDMI-A-1");
    std::fs::create_dir_all(&connector).unwrap();
    for (file, text) in [("status", "connected\n"), ("enabled", "enabled\n"), ("dpms", "On\n")] {
        std::fs::write(connector.join(file), text).unwrap();
    }
    let mut room = Room::card();
    room.sense = format!("host = {machine:?}\n");
    room.usage = "used_after_s = 12\ninput_counts_s = 30\n".into();
    room.sources += "[school_day]\npreflight_before_bell_min = 0\n";
    room
}

/// A picture of a page, as wide as a desk and as a phone.
async fn picture(browser: &Browser, name: &str) {
    for (width, height) in [(1366, 768), (390, 844)] {
        browser.set_window(width, height).await.unwrap();
        let overflows = "return document.documentElement.scrollWidth > innerWidth + 1";
        assert_eq!(browser.run(overflows).await.unwrap(), false, "{name} is wider than {width}");
        let file = pictures().unwrap().join(format!("console-{name}-{width}.png"));
        browser.screenshot(&file).await.unwrap();
    }
    browser.set_window(1366, 768).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_becomes_a_line_that_people_confirm_correct_and_take_away_as_a_table() {
    let folder = Folder::new().unwrap();
    let room = room(&folder);
    let settings = "[targets]\nperiods_used_pct = 80\nrecording_rooms = [\"301教室\"]\n";
    let school = School::start_with(folder, &room, settings).unwrap();
    let console = Console::admin(&school.hub).await.unwrap();
    let hands = Hands::at(school.agent.data.join("run/session.sock"));
    hands.work(true);

    // One lesson that begins in a moment; not over midnight.
    let mut now = clock::local(clock::wall_ms());
    if (now.hour(), now.minute()) >= (23, 58) {
        std::thread::sleep(Duration::from_secs(130));
        now = clock::local(clock::wall_ms());
    }
    let (from, to) = (&now + 20.seconds(), &now + 50.seconds());
    let bells = format!("第3节 {}-{}", from.strftime("%H:%M:%S"), to.strftime("%H:%M:%S"));
    let day = ["一", "二", "三", "四", "五", "六", "日"]
        [usize::try_from(now.weekday().to_monday_zero_offset()).unwrap()];
    let lesson =
        format!("星期,节次,课程,班级,教师,工号,教室\n{day},第3节,语文,五年级2班,张老师,T1024,301教室\n");
    console.set_timetable("", &bells, &lesson).await.unwrap();
    let date = now.date().to_string();
    let line = || {
        let rows = school.hub.rows().unwrap();
        rows.query_row("SELECT auto FROM usage WHERE auto IS NOT NULL", [], |row| row.get::<_, String>(0))
            .ok()
    };
    let auto = eventually(PATIENCE, "the row at the hub", line);
    let auto = auto.unwrap_or_else(|e| panic!("{e}\n{}", school.agent.process.tail_of_log()));

    let browser = Browser::start(&school.folder, "register").await.unwrap();
    browser.open(&format!("{}/usage", school.hub.url())).await.unwrap();
    browser.type_into("input[name=password]", &school.hub.admin_password).await.unwrap();
    browser.click("button").await.unwrap();
    browser.wait_text("h1", "使用记录", PATIENCE).await.unwrap();
    let shown = browser.text(".register tbody tr").await.unwrap();
    for word in ["第3节", "301教室", "五年级2班", "语文", "张老师", "使用", "没有告警", "自动"]
    {
        assert!(shown.contains(word), "{word} is missing in {shown}");
    }
    picture(&browser, "usage").await;

    // Corrected at the hub, with a note that a spreadsheet program would take for a formula.
    browser.click(".register tbody a").await.unwrap();
    browser.wait_text("h1", "第3节", PATIENCE).await.unwrap();
    browser.run("document.querySelector('select[name=used]').value = 'no'").await.unwrap();
    browser.type_into("input[name=fault]", "=投影机偏色").await.unwrap();
    picture(&browser, "usage-period").await;
    browser.click("form.add button").await.unwrap();
    browser.wait_text("h1", "未使用", PATIENCE).await.unwrap();
    let said = browser.text("main").await.unwrap();
    for word in ["admin（中心）", "使用 → 未使用，故障说明：=投影机偏色", "自动记录：使用", "补录"]
    {
        assert!(said.contains(word), "{word} is missing in {said}");
    }
    let kept: String =
        school.hub.rows().unwrap().query_row("SELECT auto FROM usage", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, auto, "what the room saw stays as it was");

    // Both tables, read back.
    let file = console.get(&format!("/usage/export/usage.xlsx?from={date}&to={date}")).await.unwrap();
    let name = file.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(name.ends_with(&format!("_{date}_{date}.xlsx")), "{name}");
    let mut book: Xlsx<_> =
        calamine::open_workbook_from_rs(Cursor::new(file.bytes().await.unwrap())).unwrap();
    let sheet = book.worksheet_range("使用记录").unwrap();
    let column = |name: &str| {
        let head = sheet.rows().next().unwrap();
        head.iter().position(|cell| cell == &Data::String(name.into())).unwrap()
    };
    assert_eq!(sheet.rows().count(), 2);
    let cell = |name: &str| sheet.rows().nth(1).unwrap()[column(name)].clone();
    assert_eq!(
        (cell("使用情况"), cell("来源")),
        (Data::String("未使用".into()), Data::String("补录".into()))
    );
    assert_eq!(cell("使用时长（分钟）"), Data::Float(0.0));
    assert_eq!(cell("故障说明"), Data::String("=投影机偏色".into()), "a text, not a formula");
    let text = console.get(&format!("/usage/export/usage.csv?from={date}&to={date}")).await.unwrap();
    let text = text.text().await.unwrap();
    assert!(text.starts_with('\u{feff}') && text.contains(",'=投影机偏色,"), "{text}");

    // The teacher says it in the room, later: that holds.
    let word = [
        "usage",
        "--date",
        &date,
        "--period",
        "第3节",
        "--used",
        "yes",
        "--by",
        "张老师",
        "--by-id",
        "T1024",
    ];
    let (said, code) = school.agent.lectern(&word).unwrap();
    assert_eq!(code, 0, "{said}");
    let holds = || {
        let page = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(console.page(&format!("/usage?from={date}&to={date}")))
        });
        page.ok().filter(|page| page.contains("张老师 T1024") && !page.contains("admin"))
    };
    eventually(PATIENCE, "the teacher's word at the hub", holds).unwrap();
    assert_eq!(
        console
            .page(&format!("/usage?teacher=T1024&show=not&from={date}"))
            .await
            .unwrap()
            .matches("<tr>")
            .count(),
        0
    );

    // What it comes to.
    browser.open(&format!("{}/indicators", school.hub.url())).await.unwrap();
    let shown = browser.wait_text("main", "课时使用率", PATIENCE).await.unwrap();
    for word in
        ["100.0%\n1 / 1", "目标 80.0%，达到", "录播室使用率", "课堂实录提交率\n0.0%\n0 / 1", "这个月没有报修"]
    {
        let (shown, word) = (shown.replace(' ', "\n"), word.replace(' ', "\n"));
        assert!(shown.contains(&word), "{word} is missing in {shown}");
    }
    picture(&browser, "indicators").await;
    let month = &date[..7];
    let file = console.get(&format!("/indicators/export/indicators.xlsx?month={month}")).await.unwrap();
    let mut book: Xlsx<_> =
        calamine::open_workbook_from_rs(Cursor::new(file.bytes().await.unwrap())).unwrap();
    let sheet = book.worksheet_range("指标").unwrap();
    let used = sheet.rows().find(|row| row[2] == Data::String("课时使用率".into())).unwrap();
    assert_eq!((&used[3], &used[4], &used[5]), (&Data::Float(100.0), &Data::Float(1.0), &Data::Float(1.0)));
    assert!(sheet.rows().all(|row| row.len() == 10) && sheet.rows().count() == 11);

    // A room that has nothing to do with it is not found, and a stranger sees nothing.
    assert_eq!(console.get(&format!("/usage/{DEVICE}/2020-01-01/x")).await.unwrap().status(), 404);
    let stranger = Console::stranger(&school.hub).unwrap();
    for path in ["/usage", "/indicators", "/usage/export/usage.csv", "/indicators/export/indicators.xlsx"] {
        assert_eq!(stranger.get(path).await.unwrap().status(), 303, "{path}");
    }
    browser.close().await.unwrap();
}
