//! A network camera over RTSP.

use std::time::Duration;

use anyhow::Context as _;
use ffmpeg_next::{codec, media::Type};
use lectern_wire::capture::{Transport, without_userinfo};

use super::{Worker, decode};
use crate::av::Input;

/// Opens the camera and leaves every picture it sends.
pub(super) fn pump(worker: &Worker, url: &str, transport: Transport) -> anyhow::Result<()> {
    let shown = without_userinfo(url);
    worker.patience.renew(Duration::from_secs(8));
    let transport = match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    // RTSP's own time-out is for ever unless it is set; the interrupt bounds everything else.
    let options = [
        ("rtsp_transport", transport),
        ("timeout", "5000000"),
        ("fflags", "nobuffer+discardcorrupt"),
        ("flags", "low_delay"),
        ("analyzeduration", "1000000"),
        ("probesize", "500000"),
    ];
    let mut input = Input::open(None, url, &options, worker.patience.clone())
        .with_context(|| format!("the camera {shown} could not be opened"))?;
    // The camera's description names its codec, and its first key frame the rest: reading ahead for a second,
    // as libav would, is only needed where it does not.
    if input.stream(Type::Video).is_none_or(|(_, parameters)| parameters.id() == codec::Id::None) {
        worker.patience.renew(Duration::from_secs(8));
        input.find_streams().with_context(|| format!("the camera {shown} sends nothing"))?;
    }
    decode::follow(worker, &mut input, &shown)
}
