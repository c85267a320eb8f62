//! A picture that no encoder can make small: coloured noise, so that a lesson reaches its highest rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{ConnectionExt as _, CreateGCAux, ImageFormat};
use x11rb::rust_connection::RustConnection;

/// Size of the noise, pixels.
const SIZE: (u16, u16) = (640, 480);
/// Drawn this often.
const EVERY: Duration = Duration::from_millis(120);

/// Draws until it is dropped.
#[derive(Debug)]
pub struct Noise(Arc<AtomicBool>);

impl Noise {
    /// Begins to draw on a display.
    ///
    /// # Errors
    /// When the display does not answer.
    pub fn on(display: &str) -> anyhow::Result<Self> {
        let (connection, screen) =
            x11rb::connect(Some(display)).with_context(|| format!("no display {display}"))?;
        let root = connection.setup().roots.get(screen).context("a display without a screen")?;
        let (window, depth, context) = (root.root, root.root_depth, connection.generate_id()?);
        connection.create_gc(context, window, &CreateGCAux::new())?.check()?;
        let end = Arc::new(AtomicBool::default());
        let ended = end.clone();
        std::thread::spawn(move || {
            let mut dice = 0x2545_F491_4F6C_DD1D_u64;
            while !ended.load(Ordering::Relaxed) {
                // A display that is gone needs no picture.
                if draw(&connection, window, context, depth, &mut dice).is_err() {
                    return;
                }
                std::thread::sleep(EVERY);
            }
        });
        Ok(Self(end))
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn draw(on: &RustConnection, window: u32, context: u32, depth: u8, dice: &mut u64) -> anyhow::Result<()> {
    // In strips: a request has a largest size.
    const ROWS: u16 = 40;
    let mut strip = vec![0; usize::from(SIZE.0) * usize::from(ROWS) * 4];
    for top in (0..SIZE.1).step_by(usize::from(ROWS)) {
        for eight in strip.chunks_exact_mut(8) {
            *dice ^= *dice << 13;
            *dice ^= *dice >> 7;
            *dice ^= *dice << 17;
            eight.copy_from_slice(&dice.to_le_bytes());
        }
        let y = i16::try_from(top)?;
        on.put_image(ImageFormat::Z_PIXMAP, window, context, SIZE.0, ROWS, 0, y, 0, depth, &strip)?;
    }
    on.flush()?;
    Ok(())
}
