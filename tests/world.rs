//! The classroom in a box is itself tried: each part is there, can be taken away, and leaves nothing.

use std::time::Duration;

use lectern_base::clock;
use lectern_tests::grab::{self, Frame, Recording};
use lectern_tests::slides::Marker;
use lectern_tests::{Browser, Camera, Clap, Folder, Screen, Sound, clap, eventually};

const BLINK: Duration = Duration::from_secs(30);

#[test]
fn slides_are_shown_and_carry_the_second_and_a_blank_screen_has_none() {
    let folder = Folder::new().unwrap();
    let mut screen = Screen::blank(&folder).unwrap();
    let blank = screen.picture().unwrap();
    assert_eq!((blank.width, blank.height), (1920, 1080));
    assert!(blank.plain() && Marker::read(&blank).is_none(), "a screen without slides shows none");

    screen.show_slides(&folder, 1).unwrap();
    let first = screen.wait_until_visible().unwrap();
    for _ in 0..3 {
        let before = clock::wall_ms();
        let shown = Marker::read(&screen.picture().unwrap()).expect("a slide");
        // Drawn a while before the picture was taken on a busy machine, and never after it.
        let ages = (shown.age_s(before), shown.age_s(clock::wall_ms()));
        assert!(ages.0 <= 5 && ages.1 >= 0, "the slide on the screen is of {ages:?} s ago");
        std::thread::sleep(Duration::from_millis(700));
    }
    assert_ne!(Marker::read(&screen.picture().unwrap()).unwrap().slide, first.slide, "slides change");

    screen.hide_slides();
    eventually(BLINK, "no slide", || Marker::read(&screen.picture().ok()?).is_none().then_some(())).unwrap();
}

#[test]
fn a_word_is_heard_where_it_was_spoken_and_nowhere_else() {
    let folder = Folder::new().unwrap();
    let screen = Screen::blank(&folder).unwrap();
    let sound = Sound::start(&folder).unwrap();
    let recording = Recording::start(&folder, &screen, &sound, 10).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let click = sound.click();
    std::thread::sleep(Duration::from_secs(1));
    let word = sound.speak("草船借箭").unwrap();
    word.wait();
    std::thread::sleep(Duration::from_millis(800));
    let file = recording.finish();
    let heard = grab::sound(&file).unwrap();
    let click_s = heard.iter().position(|s| s.abs() > 0.45).expect("the click is heard") as f64 / 48_000.0;
    let word_s = click_s + (word.at - click.at).as_secs_f64();
    let end_s = word_s + word.length.as_secs_f64();
    assert!(end_s - word_s > 0.5, "four characters take longer than {:.2} s", end_s - word_s);
    let loud = |from: f64, to: f64| grab::loudness(grab::between(&heard, from, to));
    let (before, during, after) =
        (loud(click_s + 0.1, word_s - 0.1), loud(word_s, end_s), loud(end_s + 0.2, end_s + 0.6));
    assert!(
        before < -80.0 && (-35.0..-5.0).contains(&during) && after < -80.0,
        "before the word {before:.0} dBFS, in it {during:.0}, after it {after:.0}"
    );
}

#[test]
fn a_microphone_can_be_unplugged_and_plugged_in_again() {
    let folder = Folder::new().unwrap();
    let screen = Screen::blank(&folder).unwrap();
    let mut sound = Sound::start(&folder).unwrap();
    let level = |sound: &Sound| {
        let recording = Recording::start(&folder, &screen, sound, 10)?;
        std::thread::sleep(Duration::from_secs(1));
        anyhow::Ok(grab::loudness(&grab::sound(&recording.finish())?))
    };
    sound.unplug();
    assert!(level(&sound).is_err(), "an unplugged microphone cannot be opened");
    sound.plug(&folder).unwrap();
    sound.keep_speaking(Duration::from_secs(1)).unwrap();
    assert!(level(&sound).unwrap() > -40.0, "it is heard again");
    sound.hush();
    std::thread::sleep(Duration::from_millis(300));
    assert!(level(&sound).unwrap() < -80.0, "a hushed teacher is not heard");
}

#[test]
fn a_camera_shows_a_picture_until_its_plug_is_pulled() {
    let folder = Folder::new().unwrap();
    let mut camera = Camera::start(&folder).unwrap();
    let picture = Frame::of_camera(&camera.url()).unwrap();
    assert_eq!((picture.width, picture.height), (1280, 720));
    assert!(!picture.plain());
    camera.freeze();
    camera.thaw();
    assert!(Frame::of_camera(&camera.url()).is_ok(), "it goes on after a freeze");
    camera.stop();
    assert!(Frame::of_camera(&camera.url()).is_err(), "a camera without power shows nothing");
}

#[test]
fn a_clap_is_seen_and_heard_at_one_instant() {
    let folder = Folder::new().unwrap();
    let screen = Screen::start(&folder).unwrap();
    screen.wait_until_visible().unwrap();
    let sound = Sound::start(&folder).unwrap();
    let clap = Clap::on(screen.display()).unwrap();
    let recording = Recording::start(&folder, &screen, &sound, 30).unwrap();
    let (made, heard) = std::thread::scope(|scope| {
        let listening = scope.spawn(|| clap::listen(&sound, Duration::from_secs(12)));
        std::thread::sleep(Duration::from_millis(500));
        let made: Vec<_> = (0..5)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(413));
                clap.clap(&sound).unwrap()
            })
            .collect();
        (made, listening.join().unwrap().unwrap())
    });
    let file = recording.finish();
    let apart = made.iter().filter_map(|clap| {
        let click = heard.iter().map(|heard| heard.as_secs_f64() - clap.at.as_secs_f64());
        click.min_by(|a, b| a.abs().total_cmp(&b.abs())).map(|click| click - clap.drawn_after.as_secs_f64())
    });
    let apart: Vec<f64> = apart.collect();
    // The least of them is the clap's own; the rest is what else the machine has to do.
    let least = apart.iter().fold(f64::MAX, |least, apart| least.min(apart.abs()));
    assert!(apart.len() == 5 && least < 0.05, "click after flash, seconds: {apart:?}");
    // ffmpeg's start of the sound is less exact than the clap (see clap.rs); a busy room may lose one or two clicks itself.
    let (found, silent) = clap::find_all(&file).unwrap();
    assert!(found.len() >= 3 && found.len() + silent.len() == 5, "{found:?}, without a click {silent:?}");
    let (late, _) = clap::sound_late(&found).unwrap();
    assert!(late.abs() < 0.25, "{late:.3} s: {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_presses_reads_and_photographs() {
    let folder = Folder::new().unwrap();
    let page = folder.join("page.html");
    let html = "<meta charset=utf-8><meta name=viewport content='width=device-width'><button onclick=\"setTimeout(()=>n.textContent='按了'+ ++c+'次',300)\">按</button>\
                <p id=n>没按</p><script>let c=0</script>";
    std::fs::write(&page, html).unwrap();
    let browser = Browser::start(&folder, "one").await.unwrap();
    browser.open(&format!("file://{}", page.display())).await.unwrap();
    assert_eq!(browser.text("#n").await.unwrap(), "没按");
    browser.click("button").await.unwrap();
    browser.wait_text("#n", "按了1次", BLINK).await.unwrap();
    let said = browser.wait_text("#n", "按了2次", Duration::from_millis(100)).await.unwrap_err();
    assert!(said.to_string().contains("按了1次"), "says what stood there instead: {said}");
    assert_eq!(browser.run("return navigator.language").await.unwrap(), "zh-CN");
    browser.set_window(390, 844).await.unwrap();
    let width = browser.run("return window.innerWidth").await.unwrap();
    assert_eq!(width, 390);
    let png = folder.join("page.png");
    browser.screenshot(&png).await.unwrap();
    assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG"));
    browser.close().await.unwrap();
}

#[test]
fn nothing_of_a_world_is_left_when_it_ends() {
    let folder = Folder::new().unwrap();
    let path = folder.path().to_owned();
    let screen = Screen::start(&folder).unwrap();
    let sound = Sound::start(&folder).unwrap();
    let camera = Camera::start(&folder).unwrap();
    assert!(folder.processes().len() >= 5, "{:?}", folder.processes());
    let display = screen.display().to_owned();
    drop((camera, sound, screen));
    assert!(Frame::of_display(&display).is_err(), "the display has gone");
    drop(folder);
    assert!(!path.exists());
    assert_eq!(marked(&path), Vec::<u32>::new());
}

/// The processes that carry a folder's mark, found from outside.
fn marked(folder: &std::path::Path) -> Vec<u32> {
    let mark = format!("{}={}", lectern_tests::folder::MARK, folder.display());
    let all = std::fs::read_dir("/proc").expect("the kernel's /proc");
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|env| String::from_utf8_lossy(&env).split('\0').any(|v| v == mark))
        })
        .collect()
}

#[test]
fn a_killed_test_leaves_no_world_behind() {
    // A program that holds a world and is killed by SIGKILL: the guard must end what it started.
    let outer = Folder::new().unwrap();
    let mut holder = std::process::Command::new(env!("CARGO_BIN_EXE_lectern-world"));
    holder.env_remove(lectern_tests::folder::MARK);
    let mut holder = lectern_tests::Process::start(&outer, "holder", holder).unwrap();
    let inner = eventually(Duration::from_secs(180), "a world", || {
        let text = std::fs::read_to_string(holder.log()).ok()?;
        let ready = text.contains("Ctrl-C ends it");
        text.lines().find_map(|l| l.strip_prefix("logs ")).filter(|_| ready).map(|l| l.trim().to_owned())
    });
    let inner = std::path::PathBuf::from(inner.unwrap_or_else(|e| panic!("{e}\n{}", holder.tail_of_log())));
    assert!(!marked(&inner).is_empty());
    holder.kill();
    eventually(Duration::from_secs(120), "the guard's work", || {
        (marked(&inner).is_empty() && !inner.exists()).then_some(())
    })
    .unwrap();
}
