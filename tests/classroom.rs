//! The picture and the sound are the classroom's: a real screen, a real microphone, a real camera.

use std::time::Duration;

use lectern_tests::grab::{self, Frame};
use lectern_tests::programs::Programs;
use lectern_tests::slides::Marker;
use lectern_tests::{Agent, Browser, Clap, Folder, Hub, Room, World, browser, clap};

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn what_the_slides_show_and_the_voice_says_is_in_the_take_at_its_second() {
    let world = World::start().unwrap();
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::of(&world, true), &hub, &password).unwrap();
    agent.press("start").unwrap();
    agent.wait_for_media(4000, PATIENCE).unwrap();
    let heard = world.sound.speak("请大家打开课本，默读第一自然段。").unwrap();
    agent.wait_for_media(14_000, PATIENCE).unwrap();
    // The page beside it, with what is recorded: for the READMEs.
    let browser = Browser::start(&folder, "teacher").await.unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    browser.set_window(1280, 800).await.unwrap();
    let there = "return document.querySelector('#preview').classList.contains('there')";
    let mut seen = false;
    for _ in 0..600 {
        seen = browser.run(there).await.unwrap() == true;
        if seen {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(seen, "no preview came while the page was open");
    let _voice = world.sound.speak("请大家打开课本，默读第一自然段。").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    browser.screenshot(&browser::pictures().unwrap().join("page-classroom.png")).await.unwrap();
    browser.close().await.unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap();
    let stored = hub.lesson_folder(lesson);
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(stored.join("manifest.json")).unwrap()).unwrap();
    let take = &manifest["document"]["takes"][0];
    let started_ms = take["started_wall_ms"].as_i64().unwrap();
    let file = stored.join("take-1.mp4");

    // The slide's marker carries the second it was shown in.
    for second in [3, 6, 9, 12] {
        let frame = Frame::of_file(&file, Duration::from_secs(second)).unwrap();
        let marker = Marker::read(&frame).expect("the slide's marker is in the picture");
        let age = marker.age_s(started_ms + i64::try_from(second).unwrap() * 1000);
        assert!((-1..=1).contains(&age), "at {second} s the picture is {age} s old");
        // The camera stands in the lower right corner: a green board, which no slide has.
        assert!(frame.light(0.80, 0.85).unwrap() < 160, "no camera in the corner at {second} s");
    }
    let sound = grab::sound(&file).unwrap();
    let spoken = f64::from(i32::try_from(heard.wall_ms - started_ms).unwrap()) / 1000.0;
    let (voice, before) = (
        grab::loudness(grab::between(&sound, spoken, spoken + 1.5)),
        grab::loudness(grab::between(&sound, spoken - 1.5, spoken - 0.1)),
    );
    assert!(voice > -40.0 && before < voice - 20.0, "voice {voice:.1} dBFS, before it {before:.1} dBFS");
    assert_eq!(agent.verify(&stored).unwrap()["sound"], true);
}

#[test]
fn a_clap_is_seen_and_heard_within_40_ms() {
    let world = World::start().unwrap();
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::of(&world, false), &hub, &password).unwrap();
    let hands = Clap::on(world.screen.display()).unwrap();
    agent.press("start").unwrap();
    // The microphone's latency settles in its first second.
    agent.wait_for_media(4000, PATIENCE).unwrap();
    let mut drawn = Vec::new();
    for n in 0..9 {
        // Not in step with the picture clock.
        std::thread::sleep(Duration::from_millis(300 + n * 7));
        drawn.push(hands.clap(&world.sound).unwrap().drawn_after);
    }
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let file = hub.lesson_folder(status["lesson"]["id"].as_str().unwrap()).join("take-1.mp4");
    let claps = clap::find(&file).unwrap();
    let (late, spread) = clap::sound_late(&claps).unwrap();
    println!(
        "{} claps: sound {:+.1} ms against the picture, spread {:.1} ms, drawn after {drawn:?}",
        claps.len(),
        late * 1e3,
        spread * 1e3
    );
    assert!(late.abs() <= 0.040, "the sound is {:+.1} ms away from the picture: {claps:?}", late * 1e3);
}
