//! The sound of a take: all of it decoded, its level and its loudness.

use anyhow::{Context as _, anyhow};
use ffmpeg_next::{Packet, Rational, decoder, filter, format, frame};
use lectern_wire::report::Report;

use super::sight::{is_damage, wants_more};
use super::{Stretches, ms};

/// Mean power at or below this is silence: −60 dBFS, the watchers' bound.
const SILENCE: f64 = 1e-6;
/// What ebur128 says of a sound without anything to hear.
const NOTHING_CLUFS: i32 = -7000;
/// Digital zero.
const NOTHING_CDBFS: i32 = -10_000;

/// Listens to a take's sound.
pub struct Hearing {
    decoder: decoder::Audio,
    base: Rational,
    loudness: Loudness,
    samples: u64,
    /// Where the last piece ended, if that is known.
    end: Option<i64>,
    sound_end: Option<i64>,
    hole: i64,
    peak: f32,
    /// Power and samples of the 100 ms being heard.
    window: (f64, usize),
    silent: Stretches,
}

impl Hearing {
    /// Starts with nothing heard.
    pub fn new(decoder: decoder::Audio, base: Rational) -> anyhow::Result<Self> {
        let loudness = Loudness::new(&decoder)?;
        Ok(Self {
            decoder,
            base,
            loudness,
            samples: 0,
            end: None,
            sound_end: None,
            hole: 0,
            peak: 0.0,
            window: (0.0, 0),
            silent: Stretches::default(),
        })
    }

    /// Takes the next packet.
    pub fn hear(&mut self, packet: &Packet) -> anyhow::Result<()> {
        let pts = packet.pts().context("a piece of sound has no time")?;
        // One tick is rounding, not a hole.
        self.hole += self.end.map_or(0, |end| pts - end).max(1) - 1;
        // libav does not know the length of the first piece, which only primes the decoder.
        self.end = Some(pts + packet.duration()).filter(|_| packet.duration() > 0);
        self.sound_end = self.end.or(self.sound_end);
        match self.decoder.send_packet(packet) {
            Ok(()) => {}
            // A hole in the sound, and no reason to keep the lesson from its store.
            Err(e) if is_damage(e) => self.hole += packet.duration(),
            Err(e) => return Err(e).context("sound cannot be decoded"),
        }
        self.receive()
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        let mut sound = frame::Audio::empty();
        while self.decoder.receive_frame(&mut sound).is_ok() {
            self.measure(&sound);
            sound.set_pts(Some(self.samples.cast_signed()));
            self.samples += sound.samples() as u64;
            self.loudness.add(&mut sound)?;
        }
        Ok(())
    }

    fn measure(&mut self, sound: &frame::Audio) {
        if sound.format() != format::Sample::F32(format::sample::Type::Planar) || sound.planes() == 0 {
            return;
        }
        let rate = u64::from(self.decoder.rate().max(1));
        let channels: Vec<&[f32]> = (0..sound.planes()).map(|channel| sound.plane(channel)).collect();
        for n in 0..sound.samples() {
            let loudest = channels.iter().fold(0f32, |loudest, samples| loudest.max(samples[n].abs()));
            self.peak = self.peak.max(loudest);
            self.window.0 += f64::from(loudest) * f64::from(loudest);
            self.window.1 += 1;
            if self.window.1 as u64 * 10 >= rate {
                let (power, samples) = std::mem::take(&mut self.window);
                let start = (self.samples + n as u64 + 1).saturating_sub(samples as u64);
                self.silent.see(power / samples as f64 <= SILENCE, start * 1000 / rate);
            }
        }
    }

    /// Ends the take here.
    pub fn end(mut self, report: &mut Report) -> anyhow::Result<()> {
        self.decoder.send_eof()?;
        self.receive()?;
        report.sound_ms = ms(self.sound_end.unwrap_or(0), self.base);
        report.decoded_samples = self.samples;
        report.sound_hole_ms = ms(self.hole, self.base);
        report.silent_ms = self.silent.end(report.sound_ms);
        report.loudness_clufs = self.loudness.integrated;
        report.peak_cdbfs = if self.peak > 0.0 { (2000.0 * self.peak.log10()) as i32 } else { NOTHING_CDBFS };
        Ok(())
    }
}

/// Integrated loudness by libavfilter's ebur128.
struct Loudness {
    graph: filter::Graph,
    out: frame::Audio,
    integrated: i32,
}

impl Loudness {
    fn new(decoder: &decoder::Audio) -> anyhow::Result<Self> {
        let find = |name: &str| filter::find(name).with_context(|| format!("this libav has no {name}"));
        let mut graph = filter::Graph::new();
        let shape = format!(
            "time_base=1/{rate}:sample_rate={rate}:sample_fmt={}:channel_layout=0x{:x}",
            decoder.format().name(),
            decoder.channel_layout().bits(),
            rate = decoder.rate()
        );
        let mut source = graph.add(&find("abuffer")?, "in", &shape)?;
        let mut meter = graph.add(&find("ebur128")?, "meter", "metadata=1")?;
        let mut sink = graph.add(&find("abuffersink")?, "out", "")?;
        source.link(0, &mut meter, 0);
        meter.link(0, &mut sink, 0);
        graph.validate().context("loudness cannot be measured")?;
        Ok(Self { graph, out: frame::Audio::empty(), integrated: NOTHING_CLUFS })
    }

    /// Hands the sound over; it is empty afterwards.
    fn add(&mut self, sound: &mut frame::Audio) -> anyhow::Result<()> {
        let gone = || anyhow!("the loudness meter lost its end");
        self.graph.get("in").ok_or_else(gone)?.source().add(sound).context("loudness cannot be measured")?;
        let mut sink = self.graph.get("out").ok_or_else(gone)?;
        loop {
            match sink.sink().frame(&mut self.out) {
                Ok(()) => {
                    let said = self.out.metadata().get("lavfi.r128.I").and_then(|text| text.parse().ok());
                    self.integrated = said.map_or(self.integrated, |lufs: f64| (lufs * 100.0).round() as i32);
                }
                Err(e) if wants_more(e) => return Ok(()),
                Err(e) => return Err(e).context("loudness cannot be measured"),
            }
        }
    }
}
