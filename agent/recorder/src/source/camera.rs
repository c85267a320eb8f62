//! A network camera over RTSP (TCP), decoded.

use std::time::Duration;

use anyhow::Context as _;
use ffmpeg_next::{codec, frame, media::Type};
use lectern_base::clock;
use lectern_wire::recorder::without_userinfo;

use super::{Picture, Worker};
use crate::av::Input;

/// Opens the camera and leaves every picture it sends.
pub(super) fn pump(worker: &Worker, url: &str) -> anyhow::Result<()> {
    let shown = without_userinfo(url);
    worker.patience.renew(Duration::from_secs(8));
    // RTSP's own time-out is for ever unless it is set; the interrupt bounds everything else.
    let options = [
        ("rtsp_transport", "tcp"),
        ("timeout", "5000000"),
        ("fflags", "nobuffer+discardcorrupt"),
        ("flags", "low_delay"),
        ("analyzeduration", "1000000"),
        ("probesize", "500000"),
    ];
    let mut input = Input::open(None, url, &options, worker.patience.clone())
        .with_context(|| format!("the camera {shown} could not be opened"))?;
    worker.patience.renew(Duration::from_secs(8));
    input.find_streams().with_context(|| format!("the camera {shown} sends nothing"))?;
    let (index, parameters) = input.stream(Type::Video).context("the camera sends no picture")?;
    worker.outlet.wire.connected(&parameters);
    let mut decoder = codec::context::Context::from_parameters(parameters)
        .and_then(|c| c.decoder().video())
        .with_context(|| format!("the camera {shown} sends a picture this libav cannot decode"))?;
    tracing::info!(camera = shown, width = decoder.width(), height = decoder.height(), "camera open");
    while !worker.patience.ended() {
        let packet =
            input.read(Duration::from_secs(5)).with_context(|| format!("the camera {shown} was lost"))?;
        if packet.stream() != index {
            continue;
        }
        let base = input.base(index);
        let Some(packet) = worker.outlet.wire.keep(packet, base) else { continue };
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
            worker.outlet.publish(Picture::Frame(picture), clock::mono());
        }
    }
    Ok(())
}
