//! What a technician asks before the settings are written: which devices this machine has, and which cameras the
//! network.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::process::Command;

use lectern_tests::onvif::{LOGIN, Network};
use lectern_tests::programs::Programs;
use lectern_tests::{Folder, UsbCamera, World};
use serde_json::Value;

/// The cameras of an answer, by address.
fn camera<'a>(answer: &'a Value, address: &str) -> &'a Value {
    let cameras = answer["cameras"].as_array().unwrap();
    cameras.iter().find(|c| c["address"] == address).unwrap_or_else(|| panic!("no {address} in {answer}"))
}

fn urls(camera: &Value) -> Vec<&str> {
    camera["streams"].as_array().unwrap().iter().map(|s| s["url"].as_str().unwrap()).collect()
}

#[test]
fn cameras_in_the_network_are_found_and_asked_and_nobody_is_believed() {
    let folder = Folder::new().unwrap();
    let Some(mut network) = Network::start(&folder).unwrap() else {
        return lectern_tests::skipped(
            "no network namespace may be made here, so no camera can be looked for",
        );
    };
    let lectern = Programs::find().unwrap().lectern;
    let (secret, wrong) = (folder.join("secret"), folder.join("wrong"));
    std::fs::write(&secret, format!("{}\n", LOGIN.1)).unwrap();
    std::fs::write(&wrong, "not-it\n").unwrap();
    let find = |more: &[&str]| {
        let out = network.run(&lectern, &[&["doctor", "--find-cameras"], more].concat()).unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(
            !said.contains(LOGIN.1) && !said.contains("secret-of-the-camera"),
            "a password is shown: {said}"
        );
        said
    };
    let named = |file: &std::path::Path| {
        let file = file.to_string_lossy().into_owned();
        let said = find(&["--json", "--user", LOGIN.0, "--password-file", &file]);
        serde_json::from_str::<Value>(&said).unwrap()
    };
    let all = named(&secret);
    let hikvision = camera(&all, "10.77.0.11");
    assert_eq!(hikvision["name"], "HIKVISION DS-2CD2143G0-I");
    assert_eq!(
        (&hikvision["hardware"], &hikvision["maker"]),
        (&"DS-2CD2143G0-I".into(), &"HIKVISION".into())
    );
    let first = &hikvision["streams"][0];
    assert_eq!(
        (&first["codec"], &first["size"], &first["fps"]),
        (&"H264".into(), &serde_json::json!([1920, 1080]), &25.into())
    );
    assert_eq!(
        urls(hikvision),
        [
            "rtsp://10.77.0.11:554/Streaming/Channels/101?transportmode=unicast&profile=Profile_1",
            "rtsp://10.77.0.11:554/Streaming/Channels/102?transportmode=unicast&profile=Profile_2"
        ]
    );
    let only = |address: &str| {
        let camera = camera(&all, address);
        assert_eq!(camera["problem"], Value::Null, "{camera}");
        urls(camera).concat()
    };
    assert_eq!(
        only("10.77.0.12"),
        "rtsp://10.77.0.12:554/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif"
    );
    assert_eq!(only("10.77.0.13"), "rtsp://10.77.0.13:554/stream1");
    assert_eq!(
        only("10.77.0.14"),
        "rtsp://10.77.0.14/onvif-media/media.amp?profile=profile_1_h264&sessiontimeout=60&streamtype=unicast"
    );
    assert_eq!(only("10.77.0.15"), "rtsp://10.77.0.15:554/user=admin_password=_channel=1_stream=0.sdp");
    assert_eq!(camera(&all, "10.77.0.15")["name"], "后墙");

    // Those who lie, flood or say nothing cost a sentence each.
    let problem = |address: &str| camera(&all, address)["problem"].as_str().unwrap().to_owned();
    assert!(problem("10.77.0.16").contains("names 10.77.0.99"), "{}", problem("10.77.0.16"));
    assert!(problem("10.77.0.17").contains("larger than"), "{}", problem("10.77.0.17"));
    assert!(problem("10.77.0.20").contains("does not answer"), "{}", problem("10.77.0.20"));
    let refused = all["problems"].as_array().unwrap();
    for liar in ["10.77.0.18", "10.77.0.98"] {
        assert!(refused.iter().any(|p| p.as_str().unwrap().starts_with(liar)), "{liar} in {refused:?}");
    }
    assert_eq!(all["cameras"].as_array().unwrap().len(), 8, "a printer and a bomb are no cameras: {all}");
    assert!(!network.asked().unwrap().contains("Trap"), "a machine was asked that another one named");

    // Each camera's lines are settings, once the password stands in them.
    let lines = first["settings"].as_str().unwrap();
    assert!(lines.contains("rtsp://teacher:PASSWORD@10.77.0.11:554/"), "{lines}");
    let settings = folder.join("agent.toml");
    let text =
        "[device]\nid = \"a\"\nschool = \"3401000001\"\nroom = \"a\"\n[recording]\nlayout = \"camera\"\n";
    std::fs::write(&settings, format!("{text}{lines}")).unwrap();
    let loaded =
        Command::new(&lectern).args(["record", "status", "--config"]).arg(&settings).output().unwrap();
    let said = String::from_utf8_lossy(&loaded.stderr).into_owned();
    assert!(said.contains("does not run here"), "the settings were read, and nothing runs: {said}");

    // Without a name, and with a wrong password, the camera is there and says what it wants.
    let nobody: Value = serde_json::from_str(&find(&["--json"])).unwrap();
    for answer in [&nobody, &named(&wrong)] {
        for address in ["10.77.0.11", "10.77.0.12"] {
            let problem = camera(answer, address)["problem"].as_str().unwrap();
            assert!(problem.contains("--password-file"), "{problem}");
        }
        assert_eq!(urls(camera(answer, "10.77.0.14")).len(), 1, "one asks for no name");
    }
    let table = find(&["--user", LOGIN.0, "--password-file", &secret.to_string_lossy()]);
    assert!(table.contains("10.77.0.13      TP-IPC, tp-link, C200"), "{table}");
    println!("{table}");

    network.pull();
    let out = network.run(&lectern, &["doctor", "--find-cameras", "--seconds", "1"]).unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("0 cameras answered on 10.77.0.1"));
    let out = network.run(&lectern, &["doctor", "--user", "x"]).unwrap();
    assert_eq!(out.status.code(), Some(78), "a name without its password is no question");
}

#[test]
fn every_device_of_the_machine_is_listed_with_its_lines_for_the_settings() {
    let world = World::start().unwrap();
    let camera = UsbCamera::start(&world.folder).unwrap();
    let programs = Programs::find().unwrap();
    let settings = world.folder.join("agent.toml");
    let text = format!(
        "[device]\nid = \"a\"\nschool = \"3401000001\"\nroom = \"a\"\ndata_dir = {:?}\n\
         [recording]\nlayout = \"camera\"\nrecorder = {:?}\n\
         [[source]]\nname = \"camera\"\nkind = \"camera\"\ndevice = \"/dev/video0\"\n",
        world.folder.join("state"),
        programs.recorder
    );
    std::fs::write(&settings, &text).unwrap();
    let doctor = |json: bool, env: &[(String, String)]| {
        let mut command = Command::new(&programs.lectern);
        command.arg("--config").arg(&settings).arg("doctor").envs(env.iter().cloned());
        if json {
            command.arg("--json");
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let mut env = world.env();
    env.extend(camera.env());
    let found: Value = serde_json::from_str(&doctor(true, &env)).unwrap();
    let devices = &found["devices"];
    let camera = &devices["cameras"][0];
    assert_eq!(camera["path"], "/dev/video0", "{devices}");
    assert!(!camera["name"].as_str().unwrap().is_empty(), "{camera}");
    let mode = camera["modes"].as_array().unwrap().iter().find(|m| m["format"] == "yuyv422").unwrap();
    assert_eq!((&mode["width"], &mode["height"]), (&1280.into(), &720.into()), "{camera}");
    let microphones = devices["microphones"].as_array().unwrap();
    let microphone = microphones.iter().find(|m| m["device"] == "mic.monitor").unwrap();
    assert_eq!((&microphone["system"], &microphone["monitor"]), (&"pulse".into(), &true.into()));
    let screens = devices["screens"].as_array().unwrap();
    let screen = screens.iter().find(|s| s["display"] == world.screen.display()).unwrap();
    assert_eq!((screen["kind"].as_str(), &screen["size"]), (Some("x11"), &serde_json::json!([1920, 1080])));
    assert_eq!(devices["encoder"]["chosen"].as_str().unwrap().split(' ').next(), Some("libx264"));
    let unlisted = devices["unlisted"].as_array().unwrap();
    assert!(unlisted.iter().all(|one| !one["why"].as_str().unwrap().is_empty()), "{unlisted:?}");

    // All of them together are settings that hold.
    let lines = [&screen["settings"], &microphone["settings"], &camera["settings"]];
    let lines: String = lines.iter().map(|lines| lines.as_str().unwrap()).collect();
    let all = text.split("[[source]]").next().unwrap().replace("\"camera\"", "\"screen+camera\"") + &lines;
    let profiles = "profiles = \"/nowhere/profiles\"\nschemes = \"/nowhere/schemes\"\n";
    std::fs::write(&settings, all.replace("[recording]\n", &format!("[recording]\n{profiles}"))).unwrap();
    let table = doctor(false, &env);
    for line in ["| device = \"mic.monitor\"", "| device = \"/dev/video0\"", "yuyv422"] {
        assert!(table.contains(line), "{line}\n{table}");
    }
    println!("{table}");
    // Without a sound server, a display and a camera, each is missed with a reason.
    let bare = [
        ("PULSE_SERVER".to_owned(), "unix:/nowhere/native".to_owned()),
        ("DISPLAY".to_owned(), ":4711".to_owned()),
    ];
    let found: Value = serde_json::from_str(&doctor(true, &bare)).unwrap();
    let devices = &found["devices"];
    assert!(devices["cameras"][0]["problem"].as_str().unwrap().contains("cannot be opened"), "{devices}");
    let unlisted = devices["unlisted"].to_string();
    assert!(unlisted.contains("no sound server answers"), "{unlisted}");
    let screen = devices["screens"].as_array().unwrap().iter().find(|s| s["display"] == ":4711").unwrap();
    assert!(screen["problem"].as_str().unwrap().contains("cannot be opened"), "{screen}");
}
