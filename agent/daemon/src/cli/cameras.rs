//! `lectern doctor --find-cameras`: network cameras that answer, and the address of each one's pictures for agent.toml.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lectern_base::exit::Exit;
use lectern_wire::devices::text as quoted;
use serde_json::json;

use super::{fail, say};
use crate::platform::identity;
use crate::platform::onvif::{self, Camera, Found, Login, Stream};

/// What `lectern doctor` may be asked beside its own questions.
#[derive(Debug, Args)]
pub struct Search {
    /// Look for network cameras that speak ONVIF, instead of at this machine.
    #[arg(long)]
    find_cameras: bool,
    /// A user of the cameras: they tell their pictures' addresses only to one.
    #[arg(long, requires_all = ["find_cameras", "password_file"])]
    user: Option<String>,
    /// A file with that user's password in its first line.
    #[arg(long, requires = "user")]
    password_file: Option<PathBuf>,
    /// How long to wait for answers, seconds.
    #[arg(long, requires = "find_cameras", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
}

impl Search {
    /// Whether cameras are looked for.
    pub fn wanted(&self) -> bool {
        self.find_cameras
    }

    /// Looks for them and prints what was found.
    pub fn run(&self, json: bool) -> Exit {
        let login = match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => match identity::password(file) {
                Ok(password) => Some(Login { user: user.clone(), password }),
                Err(e) => {
                    fail(&e);
                    return Exit::BadSettings;
                }
            },
            _ => None,
        };
        let interfaces = match onvif::interfaces() {
            Ok(interfaces) => interfaces,
            Err(e) => return fail(&e),
        };
        if interfaces.is_empty() {
            return fail("this machine has no IPv4 address but its own: is the network cable plugged in?");
        }
        let user = self.user.as_deref();
        match onvif::find(&interfaces, Duration::from_secs(self.seconds), login.as_ref()) {
            Ok(found) => {
                let asked: Vec<_> = interfaces.iter().map(ToString::to_string).collect();
                say(json, &value(&found, user, &asked), &table(&found, user, &asked))
            }
            Err(e) => fail(&e),
        }
    }
}

/// The lines of a stream for the settings. The password is never shown: the page may be photographed.
fn settings(stream: &Stream, user: Option<&str>) -> String {
    let mut url = stream.url.clone();
    if let Some(user) = user {
        // Both only fail for addresses without a host.
        let named = url.set_username(user).and_then(|()| url.set_password(Some("PASSWORD")));
        if named.is_err() {
            tracing::debug!("an address takes no user");
        }
    }
    format!("[[source]]\nname = \"camera\"\nkind = \"network_camera\"\nurl = {}\n", quoted(url.as_str()))
}

fn value(found: &Found, user: Option<&str>, asked: &[String]) -> serde_json::Value {
    let stream = |stream: &Stream| {
        json!({
            "profile": stream.profile,
            "url": stream.url.as_str(),
            "codec": stream.codec,
            "size": stream.size,
            "fps": stream.fps,
            "settings": settings(stream, user),
        })
    };
    let camera = |camera: &Camera| {
        json!({
            "address": camera.address,
            "name": camera.name,
            "hardware": camera.hardware,
            "maker": camera.maker,
            "streams": camera.streams.as_ref().map(|all| all.iter().map(stream).collect::<Vec<_>>()).unwrap_or_default(),
            "problem": camera.streams.as_ref().err(),
        })
    };
    json!({
        "interfaces": asked,
        "cameras": found.cameras.iter().map(camera).collect::<Vec<_>>(),
        "problems": found.problems,
    })
}

fn table(found: &Found, user: Option<&str>, asked: &[String]) -> String {
    let mut out = vec![format!("{} cameras answered on {}", found.cameras.len(), asked.join(", "))];
    for camera in &found.cameras {
        let about = [camera.name.as_str(), camera.maker.as_str(), camera.hardware.as_str()];
        let mut about: Vec<_> = about.into_iter().filter(|part| !part.is_empty()).collect();
        about.dedup();
        out.push(String::new());
        out.push(format!("{:<15} {}", camera.address, about.join(", ")));
        match &camera.streams {
            Err(e) => out.push(format!("                {e}")),
            Ok(streams) => {
                for stream in streams {
                    let size = stream.size.map(|(width, height)| format!("{width}x{height}"));
                    let fps = stream.fps.map(|fps| format!("at {fps}"));
                    let codec = Some(stream.codec.clone()).filter(|codec| !codec.is_empty());
                    let what: Vec<_> = [size, fps, codec].into_iter().flatten().collect();
                    out.push(format!("                {}: {}", stream.profile, what.join(" ")));
                    out.extend(
                        settings(stream, user).lines().map(|line| format!("                | {line}")),
                    );
                }
                if user.is_some() {
                    out.push(
                        "                (write the password in place of PASSWORD; it is not shown here)"
                            .into(),
                    );
                }
            }
        }
    }
    if found.cameras.is_empty() {
        out.push("A camera answers only in the same network, and only when ONVIF is switched on in its own settings.".into());
    }
    if !found.problems.is_empty() {
        out.push(String::new());
        out.extend(found.problems.iter().map(|problem| format!("refused: {problem}")));
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_camera_stands_with_the_lines_for_its_settings_and_without_its_password() {
        let stream = Stream {
            profile: "mainStream".into(),
            url: url::Url::parse("rtsp://10.0.0.20:554/ch1?a=1").expect("an address"),
            codec: "H264".into(),
            size: Some((1920, 1080)),
            fps: Some(25),
        };
        let camera = |last, streams| Camera {
            address: Ipv4Addr::new(10, 0, 0, last),
            name: "后墙".into(),
            hardware: "X1".into(),
            maker: "X1".into(),
            streams,
        };
        let found = Found {
            cameras: vec![camera(20, Ok(vec![stream])), camera(21, Err("it refuses".into()))],
            problems: vec!["10.0.0.9 answered something that is refused: rubbish".into()],
        };
        let table = table(&found, Some("张 老师@x"), &["10.0.0.2".into()]);
        for wanted in [
            "2 cameras answered on 10.0.0.2",
            "10.0.0.20       后墙, X1",
            "                mainStream: 1920x1080 at 25 H264",
            "                | url = \"rtsp://%E5%BC%A0%20%E8%80%81%E5%B8%88%40x:PASSWORD@10.0.0.20:554/ch1?a=1\"",
            "                it refuses",
        ] {
            assert!(table.lines().any(|line| line == wanted), "{wanted}\n{table}");
        }
        let value = value(&found, None, &[]);
        assert_eq!(value["cameras"][0]["streams"][0]["url"], "rtsp://10.0.0.20:554/ch1?a=1");
        assert_eq!(value["cameras"][1]["problem"], "it refuses");
    }
}
