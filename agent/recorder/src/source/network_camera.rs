//! A network camera over RTSP.

use std::time::Duration;

use anyhow::Context as _;
use lectern_wire::recorder::without_userinfo;

use super::{Worker, decode};
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
    decode::follow(worker, &mut input, &shown)
}
