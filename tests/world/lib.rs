//! A classroom in a box: the real parts of a room, for the demo, the bench and the tests alike.
//!
//! ```text
//! World ─ Folder   temporary; its mark finds every process that was started in it
//!       ─ Screen   Xvfb, Chromium, slides that change by the wall clock
//!       ─ Sound    PulseAudio with a null sink `mic`, a voice, clicks at a named instant
//!       ─ Camera   an RTSP server
//! LiveServer       RTMP, SRT and RTSP servers that take what is sent live
//! UsbCamera        a V4L2 camera where there is none, by PipeWire
//! Clap             a white flash and a click at one instant, to measure picture against sound
//! Browser          Chromium under chromedriver: presses buttons as people do
//! Console          the hub's console without a browser: forms, a cookie, bytes
//! broker           Mosquitto and RabbitMQ beside the hub, with the rules that ship
//! BadBroker        a broker that acknowledges late, twice, backwards, hangs up, forgets
//! RawMqtt          MQTT by hand, to say what no client library would
//! Recorder         the recorder alone: the check before a lesson, and listening
//! Network          a room and network cameras of several makers, in network namespaces
//! Key              a physical key where there is none, by a pipe
//! grab, slides     what a picture or a recording shows, read with the ffmpeg command line
//! school, lessons  a hub and an agent, the built programs with real settings; a lesson as the hub holds it
//! Disk             a file system that can be filled, and copied as a power cut would leave it
//! Cable            between agent and hub: pulled out, put back
//! FakeClock        a wall clock that is wrong and steps, for the programs that are started with it
//! Hands            somebody at the machine, or nobody, as the helper in a session tells it
//! Impostor         between room and hub, with a certificate of its own
//! Relay            between agent and hub: cuts, refuses, garbles, says nothing
//! Link             a slow, long or lossy line between two network namespaces
//! Noise            a picture that no encoder can make small
//! planted          a lesson of any size that waits for its upload
//! garage, moto     a real S3 store, and one that believes everything
//! home_assistant   a real one, where it is installed
//! Series           which samples a room took, and which of them the hub has
//! programs         where the built programs are
//! Projector        PJLink, class 2 with a password
//! Wayland          a Wayland desktop with its portal, where it is installed
//! ```
//!
//! Everything stands on free displays, ports and folders, so several worlds can run at once. What was
//! started is ended on drop, and by a guard when the process that holds the world is killed.

pub mod bad_broker;
pub mod broker;
pub mod browser;
pub mod cable;
pub mod camera;
pub mod clap;
pub mod console;
pub mod disk;
pub mod fake_clock;
pub mod folder;
pub mod garage;
pub mod grab;
pub mod hands;
pub mod home_assistant;
pub mod impostor;
pub mod key;
pub mod lessons;
pub mod link;
pub mod live;
pub mod moto;
pub mod noise;
pub mod onvif;
pub mod opencast;
pub mod planted;
pub mod process;
pub mod programs;
pub mod projector;
pub mod raw_mqtt;
pub mod recorder;
pub mod relay;
pub mod school;
pub mod screen;
pub mod series;
pub mod slides;
pub mod sound;
pub mod system;
pub mod usb_camera;
pub mod wayland;

use anyhow::Context as _;

pub use bad_broker::BadBroker;
pub use broker::Broker;
pub use browser::Browser;
pub use cable::Cable;
pub use camera::Camera;
pub use clap::Clap;
pub use console::Console;
pub use disk::Disk;
pub use fake_clock::FakeClock;
pub use folder::{Folder, copy_folder};
pub use hands::Hands;
pub use impostor::Impostor;
pub use lessons::{School, Stored};
pub use link::{Link, Shape};
pub use live::LiveServer;
pub use noise::Noise;
pub use process::{Process, eventually, free_port, skipped};
pub use raw_mqtt::RawMqtt;
pub use recorder::{Listening, Recorder};
pub use relay::{Fault, Relay};
pub use school::{Agent, Hub, Room};
pub use screen::Screen;
pub use series::Series;
pub use sound::Sound;
pub use system::System;
pub use usb_camera::UsbCamera;

/// A whole classroom. Fields end in the order they stand here; the folder last.
#[derive(Debug)]
pub struct World {
    /// What the room's display shows.
    pub screen: Screen,
    /// What the room's microphone hears.
    pub sound: Sound,
    /// The camera at the back wall.
    pub camera: Camera,
    /// Where its files and logs are.
    pub folder: Folder,
}

impl World {
    /// Starts all parts and returns when slides are visible and the microphone and the camera answer.
    /// Nobody speaks yet: see [`Sound::keep_speaking`].
    ///
    /// # Errors
    /// Names the part that did not start, with the end of its log.
    pub fn start() -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let screen = Screen::start(&folder).context("the screen did not start")?;
        let sound = Sound::start(&folder).context("the sound did not start")?;
        let camera = Camera::start(&folder).context("the camera did not start")?;
        screen.wait_until_visible()?;
        Ok(Self { screen, sound, camera, folder })
    }

    /// The environment that programs need to see this classroom instead of the machine they run on.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let mut env = self.sound.env();
        env.push(("DISPLAY".to_owned(), self.screen.display().to_owned()));
        env
    }
}
