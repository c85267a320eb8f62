//! Decodes what a camera sends and leaves every picture, whatever wire it comes over.

use std::time::Duration;

use anyhow::Context as _;
use ffmpeg_next::{codec, frame, media::Type};
use lectern_base::clock;

use super::{Picture, Worker};
use crate::av::Input;

/// A camera that sends nothing for so long is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads until the camera is lost or the worker ends; `shown` is what it is called in messages.
pub(super) fn follow(worker: &Worker, input: &mut Input, shown: &str) -> anyhow::Result<()> {
    let (index, parameters) = input.stream(Type::Video).context("the camera sends no picture")?;
    worker.outlet.wire.connected(&parameters);
    let mut decoder = codec::context::Context::from_parameters(parameters)
        .and_then(|c| c.decoder().video())
        .with_context(|| format!("the camera {shown} sends a picture this libav cannot decode"))?;
    let mut open = false;
    while !worker.patience.ended() {
        let packet = input.read(PATIENCE).with_context(|| format!("the camera {shown} was lost"))?;
        if packet.stream() != index {
            continue;
        }
        // A lesson that copies the camera takes its pictures as they are.
        let Some(packet) = worker.outlet.wire.keep(packet, input.base(index)) else {
            worker.outlet.well();
            continue;
        };
        if let Err(e) = decoder.send_packet(&packet) {
            // A damaged picture on the line is not the end of the camera; freshness will tell.
            tracing::debug!(camera = shown, "a picture could not be decoded: {e}");
            continue;
        }
        loop {
            let mut picture = frame::Video::empty();
            if decoder.receive_frame(&mut picture).is_err() {
                break;
            }
            if !std::mem::replace(&mut open, true) {
                tracing::info!(
                    camera = shown,
                    width = picture.width(),
                    height = picture.height(),
                    "camera open"
                );
            }
            worker.outlet.publish(Picture::Frame(picture), clock::mono());
        }
    }
    Ok(())
}
