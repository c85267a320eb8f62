//! The screen of an X11 display, by libav's x11grab.
//!
//! x11grab knows the size it was opened with and no other: of a display that grew it would go on showing the old
//! part, of one that shrank nothing. So the display's size is watched, and the screen opened again when it changes.

use std::sync::Weak;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::media::Type;
use lectern_base::clock;
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{ChangeWindowAttributesAux, ConnectionExt as _, EventMask};
use x11rb::rust_connection::RustConnection;

use super::{Picture, Worker};
use crate::av::Input;

/// How long a picture waits for its place in memory.
const LATE: Duration = Duration::from_millis(300);

/// Opens the display and leaves one picture per tick of the take's clock. Ends well when the display's size changed.
pub(super) fn pump(worker: &Worker, x_display: &str) -> anyhow::Result<()> {
    worker.patience.renew(Duration::from_secs(5));
    // x11grab would pace itself by its own clock; asked for more pictures than we take, it never waits.
    let options = [("framerate", "120"), ("draw_mouse", "1")];
    // Before the screen is opened, so that no change falls between the two.
    let size =
        Size::watch(x_display).with_context(|| format!("the screen {x_display} could not be opened"))?;
    let mut input = Input::open(Some("x11grab"), x_display, &options, worker.patience.clone())
        .with_context(|| format!("the screen {x_display} could not be opened"))?;
    let (_, parameters) = input.stream(Type::Video).context("the screen has no picture")?;
    let shape = input.raw(&parameters);
    if !matches!(shape.format, Pixel::BGRZ | Pixel::BGRA | Pixel::RGBZ | Pixel::ZBGR | Pixel::ZRGB) {
        bail!("the screen's pixels ({:?}) are not 24 or 32 bits deep", shape.format);
    }
    tracing::info!(screen = x_display, width = shape.width, height = shape.height, "screen open");
    let mut held = Held::default();
    while !worker.patience.ended() {
        worker.metronome.wait_for_next();
        held.wait();
        let packet = match input.read(Duration::from_secs(2)) {
            Ok(packet) => packet,
            // The picture may fail before the news of its size arrives.
            Err(_) if size.changed_soon() => return Ok(()),
            Err(e) => return Err(e).with_context(|| format!("the screen {x_display} was lost")),
        };
        if size.changed()? {
            return Ok(());
        }
        held.add(worker.outlet.publish(Picture::Raw(packet, shape), clock::mono()));
    }
    Ok(())
}

/// The last two pictures, as long as somebody holds them. A picture of the screen is eight megabytes: while the newest
/// and the one before it are both still needed, no third is taken.
#[derive(Default)]
struct Held([Weak<Picture>; 2]);

impl Held {
    fn add(&mut self, picture: Weak<Picture>) {
        self.0 = [std::mem::take(&mut self.0[1]), picture];
    }

    /// Waits until the one before the newest is let go: the composer is late then, and gets a fresher one for it. But
    /// no longer than it takes to see that it never will be.
    fn wait(&self) {
        let give_up = clock::mono() + LATE;
        while self.0.iter().all(|picture| picture.strong_count() > 0) && clock::mono() < give_up {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A connection of our own that is told when the display's size changes.
struct Size(RustConnection, u32);

impl Size {
    fn watch(x_display: &str) -> anyhow::Result<Self> {
        let (connection, screen) = x11rb::connect(Some(x_display))?;
        let root = connection.setup().roots.get(screen).context("the display has no such screen")?.root;
        let wanted = ChangeWindowAttributesAux::new().event_mask(EventMask::STRUCTURE_NOTIFY);
        connection.change_window_attributes(root, &wanted)?.check()?;
        Ok(Self(connection, root))
    }

    fn changed(&self) -> anyhow::Result<bool> {
        let mut changed = false;
        while let Some(event) = self.0.poll_for_event()? {
            changed |= matches!(event, Event::ConfigureNotify(news) if news.window == self.1);
        }
        Ok(changed)
    }

    /// As [`Self::changed`], after giving the display 200 ms to say so; false when it is gone.
    fn changed_soon(&self) -> bool {
        let until = clock::mono() + Duration::from_millis(200);
        while clock::mono() < until {
            match self.changed() {
                Ok(false) => std::thread::sleep(Duration::from_millis(5)),
                Ok(true) => return true,
                Err(_) => return false,
            }
        }
        false
    }
}
