//! Every shape of a timetable, made here as schools make them, and what is wrong with each in a sentence.

use jiff::civil::{Date, Time};
use lectern_wire::timetable::Timetable;
use rust_xlsxwriter::{Format, Workbook};

use super::import::{self, Found, Scope};
use super::{Fault, Lesson, Otherwise, SchoolTable, bells, clash, fold, room};

const BELLS: &str =
    "早读 07:40-08:00\n第1节 08:10-08:50\n第2节 9:00-9:40\n第3节 10:10-10:50\n第4节 11:00-11:40\n";

fn table() -> SchoolTable {
    SchoolTable {
        first_monday: Some(Date::constant(2026, 8, 31)),
        periods: bells(BELLS).expect("bells"),
        ..SchoolTable::default()
    }
}

fn read(name: &str, bytes: &[u8]) -> Result<Found, Vec<String>> {
    let knows = |room: &str| room::means(room, "room-301", "301教室");
    import::read(name, bytes, &table().periods, "", &knows)
        .map_err(|faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect())
}

fn told(lessons: &[Lesson]) -> Vec<String> {
    let one = |l: &Lesson| {
        let about = &l.about;
        let of = [&about.class, &about.subject, &about.teacher, &about.teacher_id, &l.room];
        let of: Vec<_> = of.into_iter().filter(|t| !t.is_empty()).map(String::as_str).collect();
        format!("{}{} {} {}", l.weekday, l.period, of.join("/"), l.weeks).trim().to_owned()
    };
    lessons.iter().map(one).collect()
}

/// A workbook of sheets of cells.
fn xlsx(sheets: &[(&str, &[&[&str]])]) -> Vec<u8> {
    let mut book = Workbook::new();
    for (name, rows) in sheets {
        let sheet = book.add_worksheet();
        sheet.set_name(*name).expect("a name");
        for (r, row) in (0..).zip(*rows) {
            for (c, text) in (0..).zip(*row) {
                if let Ok(number) = text.parse::<f64>() {
                    sheet.write_number(r, c, number).expect("a number");
                } else if !text.is_empty() {
                    sheet.write_string(r, c, *text).expect("a text");
                }
            }
        }
    }
    book.save_to_buffer().expect("a workbook")
}

const LIST: &str = "班级,星期,节次,课程,教师,工号,教室,周次\n\
                    五年级2班,星期一,第３节,语文,张老师,T1024,301教室,1-16[单周]\n\
                    五年级2班,周二,三,数学,李老师,,,\n\
                    五年级2班,5,3-4,美术,王老师,,美术室,\"2,4,9-12\"\n";

const LIST_TOLD: [&str; 4] = [
    "1第3节 五年级2班/语文/张老师/T1024/301教室 1-16[单周]",
    "2第3节 五年级2班/数学/李老师",
    "5第3节 五年级2班/美术/王老师/美术室 2,4,9-12",
    "5第4节 五年级2班/美术/王老师/美术室 2,4,9-12",
];

#[test]
fn a_list_reads_the_same_in_every_encoding_and_as_a_workbook() {
    let gb18030 = encoding_rs::GB18030.encode(LIST).0.into_owned();
    let bom = [b"\xef\xbb\xbf", LIST.as_bytes()].concat();
    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(
            LIST.replace(',', "\t")
                .replace("\"2\t4\t9-12\"", "2,4,9-12")
                .encode_utf16()
                .flat_map(u16::to_le_bytes),
        )
        .collect();
    for (name, bytes) in [("a.csv", LIST.as_bytes()), ("b.csv", &bom), ("c.csv", &gb18030), ("d.txt", &utf16)]
    {
        assert_eq!(told(&read(name, bytes).expect(name).lessons), LIST_TOLD, "{name}");
    }
    let rows: [&[&str]; 4] = [
        &["班级", "星期", "节次", "课程", "教师", "工号", "教室", "周次"],
        &["五年级2班", "星期一", "3", "语文", "张老师", "T1024", "301教室", "1-16[单周]"],
        &["五年级2班", "周二", "第三节", "数学", "李老师"],
        &["五年级2班", "5", "第3-4节", "美术", "王老师", "", "美术室", "2,4,9-12"],
    ];
    assert_eq!(told(&read("e.xlsx", &xlsx(&[("总表", &rows)])).expect("reads").lessons), LIST_TOLD);
}

#[test]
fn first_and_last_week_and_parity_may_stand_in_columns_of_their_own() {
    let list = "className,weekday,classTime,course,startWeek,endWeek,weekStatus\n\
                初一1班,Mon,1,英语,1,16,2\n初一1班,Tue,2,英语,,,单周\n";
    let found = read("a.csv", list.as_bytes()).expect("reads");
    assert_eq!(told(&found.lessons), ["1第1节 初一1班/英语 1-16[双周]", "2第2节 初一1班/英语 1-60[单周]"]);
}

#[test]
fn a_grid_per_class_reads_its_cells_merged_ones_and_the_staff_numbers() {
    let grid: [&[&str]; 7] = [
        &["课程表"],
        &["", "节次", "星期一", "星期二", "星期三"],
        &["上午", "1", "语文\n张老师\n1-16[单周]\n\n音乐\n李老师\n1-16[双周]", "数学 王老师", "体育(陈老师)"],
        &["", "第二节", "英语\n赵老师\n301教室", "", "-"],
        &["", "大课间", "大课间", "大课间", "大课间"],
        &["", "3", "科学", "劳动\n张老师\n[1/3]\n操场", ""],
        &["下午", "第4节", "", "", "班会"],
    ];
    let staff: [&[&str]; 2] = [&["姓名", "工号"], &["张老师", "T1024"]];
    let found = read("五年级.xlsx", &xlsx(&[("五年级2班", &grid), ("教师", &staff)])).expect("reads");
    assert_eq!(
        told(&found.lessons),
        [
            "1第1节 五年级2班/语文/张老师/T1024 1-16[单周]",
            "1第1节 五年级2班/音乐/李老师 1-16[双周]",
            "2第1节 五年级2班/数学/王老师",
            "3第1节 五年级2班/体育/陈老师",
            "1第2节 五年级2班/英语/赵老师/301教室",
            "1第3节 五年级2班/科学",
            "2第3节 五年级2班/劳动/张老师/T1024/操场 1-60[1/3]",
            "3第4节 五年级2班/班会",
        ]
    );
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let plain = Format::new();
    sheet.merge_range(0, 0, 0, 2, "五年级3班课程表", &plain).expect("a title");
    for (c, word) in (0..).zip(["节次", "周一", "周二"]) {
        sheet.write_string(1, c, word).expect("a head");
    }
    sheet.write_string(2, 0, "第1节").expect("a period");
    sheet.write_string(3, 0, "第2节").expect("a period");
    sheet.merge_range(2, 2, 3, 2, "作文\n张老师", &plain).expect("a double lesson");
    let found = read("x.xlsx", &book.save_to_buffer().expect("a workbook")).expect("reads");
    assert_eq!(told(&found.lessons), ["2第1节 五年级3班/作文/张老师", "2第2节 五年级3班/作文/张老师"]);
}

#[test]
fn a_workbook_may_bring_its_bells_along() {
    let bells: [&[&str]; 3] = [&["节次", "开始", "结束"], &["1", "8:00", "8:40"], &["2", "8:50", "9:30"]];
    let list: [&[&str]; 2] = [&["班级", "星期", "节次", "课程"], &["五1班", "一", "2", "语文"]];
    let found = read("a.xlsx", &xlsx(&[("作息", &bells), ("课表", &list)])).expect("reads");
    assert_eq!(told(&found.lessons), ["1第2节 五1班/语文"]);
    assert_eq!(found.periods.expect("bells")[1].start, Time::constant(8, 50, 0, 0));
}

#[test]
fn a_classroom_clocks_file_is_read_with_its_times() {
    let cses = "version: 1\nsubjects:\n  - name: 语文\n    teacher: 张老师\n    room: 301教室\n\
                schedules:\n  - name: 周一单周\n    enable_day: 1\n    weeks: odd\n    classes:\n\
                \x20     - subject: 语文\n        start_time: \"08:10:00\"\n        end_time: \"08:50:00\"\n\
                \x20     - subject: 数学\n        start_time: \"09:00:00\"\n        end_time: \"09:40:00\"\n";
    let found = read("五年级2班.yaml", cses.as_bytes()).expect("reads");
    let want = ["1第1节 五年级2班/语文/张老师/301教室 1-60[单周]", "1第2节 五年级2班/数学 1-60[单周]"];
    assert_eq!((told(&found.lessons), found.periods), (want.map(str::to_owned).to_vec(), None));
    let fresh = import::read("五2.yaml", cses.as_bytes(), &[], "五年级2班", &|_| false).expect("reads");
    assert_eq!(fresh.periods.expect("bells made").len(), 2);
    let late = cses.replace("09:40:00", "10:55:00").replace("09:00:00", "10:20:00");
    let faults = read("a.yaml", late.as_bytes()).expect_err("a fault");
    assert!(faults[0].contains("第 2 节 10:20:00 到 10:55:00 不在作息时间里"), "{faults:?}");
    for (bad, word) in [
        (cses.replace("enable_day: 1", "enable_day: 9"), "enable_day"),
        (cses.replace("weeks: odd", "weeks: third"), "weeks"),
        (cses.replace("version: 1", "configuration:\n  cycle: {work_count: 11}"), "第 2 版"),
        (cses.replace("enable_day: 1", "enable_day: ["), "CSES"),
    ] {
        let faults = read("a.yaml", bad.as_bytes()).expect_err("a fault");
        assert!(faults[0].contains(word), "{word}: {faults:?}");
    }
}

#[test]
fn every_wrong_cell_is_named_by_sheet_row_and_column() {
    let list = "班级,星期,节次,课程,教师,周次\n五2班,星期八,3,语文,,\n五2班,一,第9节,语文,,\n\n五2班,一,1,,,\n五2班,一,1,语文,,单单\n,一,1,语文,,\n";
    let faults = read("课表.csv", list.as_bytes()).expect_err("faults");
    for (n, start) in [
        "「课表」第 2 行 B 列：“星期八”",
        "「课表」第 3 行 C 列：没有“第9节”",
        "「课表」第 5 行 D 列：课程没有填",
        "「课表」第 6 行 F 列：“单单”不是周次",
        "「课表」第 7 行 A 列：班级和教室都没有填",
    ]
    .iter()
    .enumerate()
    {
        assert!(faults[n].starts_with(start), "{start}: {faults:#?}");
    }
    assert_eq!(faults.len(), 5);
    let grid: [&[&str]; 3] = [
        &["节次", "星期一", "星期二"],
        &["第9节", "语文", ""],
        &["第1节", "语文\n张老师\n301\n什么\n别的", ""],
    ];
    let faults = read("a.xlsx", &xlsx(&[("五2班", &grid)])).expect_err("faults");
    assert!(
        faults[0].starts_with("「五2班」第 2 行 A 列：") && faults[1].starts_with("「五2班」第 3 行 B 列："),
        "{faults:?}"
    );
    let nobody = read("a.xlsx", &xlsx(&[("Sheet1", &grid)])).expect_err("faults");
    assert!(nobody[0].contains("哪个班"), "{nobody:?}");
}

#[test]
fn what_is_no_timetable_gets_a_sentence_and_no_panic() {
    for (name, bytes, word) in [
        ("a.xlsx", &b"PK\x03\x04 broken"[..], "重新保存"),
        ("a.xls", b"\xD0\xCF\x11\xE0\xA1\xB1", ".xls"),
        ("a.csv", b"", "空的"),
        ("a.csv", b" \n ", "空的"),
        ("a.bin", b"\x00\x01\x02\xff\xfe", "文字文件"),
        ("a.csv", "姓名,电话\n张,1\n".as_bytes(), "没有认出课表"),
    ] {
        let faults = read(name, bytes).expect_err(name);
        assert!(faults[0].contains(word), "{name}: {faults:?}");
    }
    let far: [&[&str]; 1] = [&["班级", "星期", "节次", "课程"]];
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (c, word) in (0..).zip(far[0]) {
        sheet.write_string(0, c, *word).expect("a head");
    }
    sheet.write_string(1_048_000, 16_000, "x").expect("far away");
    let faults = read("a.xlsx", &book.save_to_buffer().expect("a workbook")).expect_err("too far");
    assert!(faults[0].contains("第 1048001 行"), "{faults:?}");
}

#[test]
fn words_for_the_same_period_are_the_same() {
    let periods = table().periods;
    for word in ["第3节", "3", "三", "第三节", "第 ３ 节", "第3节课"] {
        assert_eq!(fold::periods(word, &periods), Ok(vec!["第3节".to_owned()]), "{word}");
    }
    assert_eq!(fold::periods("早读", &periods), Ok(vec!["早读".to_owned()]));
    assert_eq!(fold::periods("1、3-4", &periods).expect("three").len(), 3);
    for bad in ["", "第9节", "4-3", "晚自习", "1-99"] {
        assert!(fold::periods(bad, &periods).is_err(), "{bad}");
    }
    assert!(fold::periods("3", &[]).expect_err("no bells").contains("作息时间"));
    assert!(room::means("３０１教室", "room-301", "301教室") && room::means("301", "x", "301教室"));
    for bad in ["第1节 8:00", "第1节 08:40-08:00", "第1节 08:00-08:40\n第2节 08:30-09:00", "x"] {
        assert!(bells(bad).is_err(), "{bad}");
    }
}

fn school(list: &str) -> SchoolTable {
    let found = read("课表.csv", list.as_bytes()).expect("reads");
    import::merged(&table(), &found, Scope::School)
}

#[test]
fn clashes_are_told_where_they_stand_and_weeks_that_never_meet_are_none() {
    let knows = |room: &str| room::means(room, "room-301", "301教室");
    let fine =
        school("班级,星期,节次,课程,教师,教室,周次\n五1,一,1,语文,张,301,单周\n五1,一,1,音乐,李,301,双周\n");
    assert_eq!(clash::find(&fine, knows), clash::Clashes::default());
    let list = "班级,星期,节次,课程,教师,教室,周次\n五1,一,1,语文,张,301,1-8\n五1,一,1,音乐,李,音乐室,8-9\n\
                五2,一,1,数学,王,301教室,\n五3,一,1,英语,张,五3,3\n";
    let found = clash::find(&school(list), knows);
    let has = |what: &str| found.twice.iter().any(|t| t.contains(what));
    assert!(
        has("五1同时有两节课") && has("301同时有两节课") && has("张同时要上两节课"),
        "{:#?}",
        found.twice
    );
    assert!(has("「课表」第 2 行") && has("第 4 行"), "{:#?}", found.twice);
    assert_eq!(found.twice.len(), 3);
    assert_eq!(found.unknown_rooms.len(), 2, "{:?}", found.unknown_rooms);
    let mut lost = school(list);
    lost.periods.retain(|p| p.name != "第1节");
    assert_eq!(clash::find(&lost, knows).unknown_periods.len(), 4);
}

#[test]
fn a_file_replaces_the_school_or_only_its_classes() {
    let before = school("班级,星期,节次,课程\n五1,一,1,语文\n五2,一,1,数学\n");
    let found = read("b.csv", "班级,星期,节次,课程\n五２,二,2,美术\n".as_bytes()).expect("reads");
    let classes = |scope| told(&import::merged(&before, &found, scope).lessons);
    assert_eq!(classes(Scope::School), ["2第2节 五2/美术"]);
    assert_eq!(classes(Scope::Classes), ["1第1节 五1/语文", "2第2节 五2/美术"]);
}

#[test]
fn a_room_gets_its_lessons_and_what_is_otherwise_on_its_days() {
    let mut school = school(
        "班级,星期,节次,课程,教师,教室\n五2班,一,1,语文,张,301\n五2班,二,2,数学,李,301\n五2班,三,3,体育,陈,操场\n五1班,一,1,英语,赵,302\n",
    );
    let date = Date::constant;
    let on = |table: &Timetable, day: Date, period: &str| table.planned(day, period).subject;
    let own = |school: &SchoolTable| room::timetable(school, "room-301", "301教室").expect("bells");
    assert_eq!(own(&school).plans.len(), 2);
    let (mon, tue, wed) = (date(2026, 9, 7), date(2026, 9, 8), date(2026, 9, 9));
    let swap = |one: (Date, &str), other: (Date, &str)| Otherwise::Swap {
        class: "五2班".into(),
        one: (one.0, one.1.into()),
        other: (other.0, other.1.into()),
    };
    school.changes = vec![
        swap((mon, "第1节"), (tue, "第2节")),
        Otherwise::Off { from: date(2026, 9, 14), to: date(2026, 9, 15) },
        Otherwise::GoesBy { date: date(2026, 9, 12), goes_by: mon },
    ];
    let table = own(&school);
    assert_eq!((on(&table, mon, "第1节").as_str(), on(&table, tue, "第2节").as_str()), ("数学", "语文"));
    assert_eq!(on(&table, date(2026, 9, 21), "第1节"), "语文", "the week after it is as ever");
    assert_eq!(table.days.len(), 3);
    assert_eq!(on(&table, date(2026, 9, 12), "第1节"), "语文", "a Saturday that goes by a Monday");
    assert_eq!(table.fault(), None);
    // To a time at which the class has nothing: it moves, and takes its room along.
    school.changes = vec![swap((mon, "第1节"), (tue, "第4节"))];
    let table = own(&school);
    assert_eq!((on(&table, mon, "第1节").as_str(), on(&table, tue, "第4节").as_str()), ("", "语文"));
    school.changes = vec![Otherwise::Cancel { class: "五2班".into(), at: (tue, "第2节".into()) }];
    assert_eq!(on(&own(&school), tue, "第2节"), "");
    let fault = |change: Otherwise| room::change_fault(&school, &change).unwrap_or_default();
    assert!(fault(swap((wed, "第1节"), (wed, "第2节"))).contains("都没有课"));
    assert!(fault(swap((mon, "第1节"), (mon, "第1节"))).contains("同一节"));
    assert!(fault(swap((mon, "第1节"), (mon, "第8节"))).contains("没有“第8节”"));
    assert!(fault(Otherwise::Off { from: tue, to: mon }).contains("停课"));
    assert!(fault(Otherwise::GoesBy { date: mon, goes_by: mon }).contains("同一天"));
    assert!(fault(Otherwise::Cancel { class: "五2班".into(), at: (mon, "第4节".into()) }).contains("没有课"));
    assert_eq!(fault(swap((mon, "第1节"), (tue, "第4节"))), "");
    assert_eq!(room::timetable(&SchoolTable::default(), "a", "b"), None);
}
