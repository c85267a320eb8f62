//! A stream to a server: what is sent live, with a bound on how long any call may block.
#![expect(
    unsafe_code,
    reason = "avio_open2 with an interrupt has no safe wrapper, and streams are made from bare parameters"
)]

use std::ffi::{CString, c_int};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use ffmpeg_next::{self as ffmpeg, Packet, Rational, codec::Parameters, ffi, format::context};

use super::input::{Patience, interrupted};

/// Picture and sound wait for each other no longer than this before they are sent. Microseconds.
const INTERLEAVE_US: i64 = 1_000_000;

/// An open stream to a server.
pub struct Outgoing {
    // Dropped before `patience`, which its interrupt callback points to.
    context: context::Output,
    patience: Arc<Patience>,
    bases: Vec<Rational>,
}

impl Outgoing {
    /// Connects to `url` and says what is coming, in the container of that name.
    pub fn open(
        container: &str,
        url: &str,
        options: &[(&str, &str)],
        streams: &[Parameters],
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let (name, address) =
            (CString::new(container)?, CString::new(url).context("the address holds a zero byte")?);
        let waits = Arc::new(Patience::default());
        waits.renew(patience);
        let mut dictionary = ffmpeg::Dictionary::new();
        for (key, value) in options {
            dictionary.set(key, value);
        }
        // SAFETY: the context is allocated here and wrapped at once, which closes and frees it on drop; all that is
        // written are plain fields of it and of streams it owns. `waits` outlives it in Self.
        unsafe {
            let mut raw = std::ptr::null_mut();
            let code = ffi::avformat_alloc_output_context2(
                &raw mut raw,
                std::ptr::null(),
                name.as_ptr(),
                address.as_ptr(),
            );
            if code < 0 || raw.is_null() {
                bail!("this libav cannot send {container}: {}", ffmpeg::Error::from(code));
            }
            let context = context::Output::wrap(raw);
            (*raw).interrupt_callback = ffi::AVIOInterruptCB {
                callback: Some(interrupted),
                opaque: Arc::as_ptr(&waits).cast_mut().cast(),
            };
            (*raw).flags |= ffi::AVFMT_FLAG_FLUSH_PACKETS;
            (*raw).max_interleave_delta = INTERLEAVE_US;
            for parameters in streams {
                let stream = ffi::avformat_new_stream(raw, std::ptr::null());
                if stream.is_null()
                    || ffi::avcodec_parameters_copy((*stream).codecpar, parameters.as_ptr()) < 0
                {
                    bail!("no memory for a stream");
                }
                (*(*stream).codecpar).codec_tag = 0;
            }
            let mut options = dictionary.disown();
            let mut code = 0;
            if (*(*raw).oformat).flags & ffi::AVFMT_NOFILE as c_int == 0 {
                code = ffi::avio_open2(
                    &raw mut (*raw).pb,
                    address.as_ptr(),
                    ffi::AVIO_FLAG_WRITE as c_int,
                    &raw const (*raw).interrupt_callback,
                    &raw mut options,
                );
            }
            let rest = ffmpeg::Dictionary::own(options);
            if code < 0 {
                return Err(said(code, patience));
            }
            let mut options = rest.disown();
            let code = ffi::avformat_write_header(raw, &raw mut options);
            drop(ffmpeg::Dictionary::own(options));
            if code < 0 {
                return Err(said(code, patience));
            }
            let bases = context.streams().map(|stream| stream.time_base()).collect();
            Ok(Self { context, patience: waits, bases })
        }
    }

    /// Sends a packet of the `stream`th stream; its times are in `base`.
    pub fn send(
        &mut self,
        mut packet: Packet,
        stream: usize,
        base: Rational,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let to = *self.bases.get(stream).ok_or_else(|| anyhow!("there is no stream {stream}"))?;
        packet.set_stream(stream);
        packet.rescale_ts(base, to);
        packet.set_position(-1);
        self.patience.renew(patience);
        match packet.write_interleaved(&mut self.context) {
            Ok(()) => Ok(()),
            Err(ffmpeg::Error::Exit) => Err(said(ffi::AVERROR_EXIT, patience)),
            Err(e) => Err(anyhow!("{e}")),
        }
    }

    /// Says that nothing more comes.
    pub fn end(&mut self, patience: Duration) -> anyhow::Result<()> {
        self.patience.renew(patience);
        self.context.write_trailer().map_err(|e| anyhow!("{e}"))
    }
}

fn said(code: c_int, patience: Duration) -> anyhow::Error {
    match code {
        ffi::AVERROR_EXIT => anyhow!("no answer within {} s", patience.as_secs()),
        code => anyhow!("{}", ffmpeg::Error::from(code)),
    }
}
