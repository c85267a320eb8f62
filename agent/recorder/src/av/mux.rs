//! Fragmented MP4 into memory, cut where we say.
//!
//! `frag_custom` leaves every cut to us; `delay_moov` writes `moov` at the first cut, when the
//! sound's priming is known (without it the sound is 21 ms late); `default_base_moof` lets every
//! fragment stand alone; `skip_trailer` keeps the file append-only. Each cut yields whole boxes.
#![expect(unsafe_code, reason = "a null packet, libav's word for 'cut here', is refused by the safe wrapper")]

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use ffmpeg_next::{self as ffmpeg, Packet, Rational, codec, ffi, format};

use crate::encode::Packets;

/// Collects what libav writes.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The muxer of one take. There is no trailer: the last cut ends the take.
pub struct Mux {
    output: format::context::Output,
    sink: Sink,
    bases: [Rational; 2],
    opened: bool,
}

impl Packets for Mux {
    fn video(&mut self, packet: Packet, base: Rational) -> anyhow::Result<()> {
        self.write(packet, VIDEO, base)
    }
    fn audio(&mut self, packet: Packet, base: Rational) -> anyhow::Result<()> {
        self.write(packet, AUDIO, base)
    }
}

/// Stream numbers.
const VIDEO: usize = 0;
const AUDIO: usize = 1;

impl Mux {
    /// Starts a take with one picture and one sound track.
    pub fn new(video: codec::Parameters, audio: codec::Parameters) -> anyhow::Result<Self> {
        let sink = Sink::default();
        let io = format::context::StreamIo::from_write(sink.clone())
            .map_err(|e| anyhow!("no memory for the muxer: {e}"))?;
        let mut output = format::output_to_stream(io, None, Some("mp4")).context("libav has no MP4 muxer")?;
        for parameters in [video, audio] {
            let track = output.add_stream(None::<ffmpeg::Codec>);
            track.context("a track was refused by the muxer")?.set_parameters(parameters);
        }
        let mut options = ffmpeg::Dictionary::new();
        options.set("movflags", "frag_custom+delay_moov+default_base_moof+skip_trailer");
        options.set("video_track_timescale", "90000");
        output.write_header_with(options).context("the muxer refused its header")?;
        let base =
            |n: usize| output.stream(n).map(|s| s.time_base()).ok_or_else(|| anyhow!("a track vanished"));
        let bases = [base(VIDEO)?, base(AUDIO)?];
        Ok(Self { output, sink, bases, opened: false })
    }

    fn write(&mut self, mut packet: Packet, stream: usize, base: Rational) -> anyhow::Result<()> {
        packet.set_stream(stream);
        packet.rescale_ts(base, self.bases[stream]);
        packet.write(&mut self.output).map(drop).context("the muxer refused a packet")
    }

    /// Ends the open fragment and gives its bytes; the first time `ftyp` and `moov` come with it.
    pub fn cut(&mut self) -> anyhow::Result<Vec<u8>> {
        // The first cut writes moov only; the fragment itself needs a second.
        let cuts = if self.opened { 1 } else { 2 };
        self.opened = true;
        for _ in 0..cuts {
            // SAFETY: the context is open and ours; a null packet is libav's documented flush.
            let code = unsafe { ffi::av_write_frame(self.output.as_mut_ptr(), std::ptr::null_mut()) };
            if code < 0 {
                return Err(anyhow!("the muxer could not cut: {}", ffmpeg::Error::from(code)));
            }
        }
        // SAFETY: as above; moves libav's own buffer into the sink.
        unsafe { ffi::avio_flush((*self.output.as_mut_ptr()).pb) };
        Ok(self.sink.take())
    }
}
