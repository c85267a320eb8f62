//! A rendition: decoded, brought to the size that is asked, encoded at the rate that fits.

use anyhow::{Context as _, ensure};
use ffmpeg_next::{Packet, Rational, Rescale as _, codec, decoder, format, frame};
use lectern_wire::render::{Piece, Rendition, length_ms};

use super::control::Control;
use super::encode::{Pictures, SOUND, Sounds};
use super::file::{PICTURE, Target, Track, Writer};
use super::joined::Joined;
use super::title;
use crate::av::{Area, RATE, ScaleSource, Scaler};
use crate::card;

/// Encodes the pieces into the target.
pub fn run(
    pieces: &[Piece],
    rendition: &Rendition,
    kbps: u32,
    target: &Target,
    control: &Control,
) -> anyhow::Result<()> {
    let title_s = rendition.title.as_ref().map_or(0, |t| t.seconds);
    let of_ms = length_ms(pieces) + u64::from(title_s) * 1000;
    let mut joined = Joined::open(pieces)?;
    let mut work = Work::new(&joined, rendition, kbps, target)?;
    if let Some(title) = &rendition.title {
        let mut picture = title::draw(title, (rendition.width, rendition.height))?;
        for _ in 0..title.seconds * rendition.fps {
            control.progress(0, of_ms)?;
            work.pictures.encode(&mut picture, work.next, &mut work.writer)?;
            work.next += 1;
        }
        work.sounds.silence(title.seconds as usize * RATE as usize, &mut work.writer)?;
    }
    let mut piece = 0;
    while let Some((track, packet)) = joined.read()? {
        if joined.piece() != piece {
            piece = joined.piece();
            work.change(&joined)?;
        }
        match track {
            Track::Picture => {
                let done = packet.pts().unwrap_or(0).max(0) / i64::from(PICTURE.1 / 1000);
                control.progress(done.unsigned_abs() + u64::from(title_s) * 1000, of_ms)?;
                work.picture(&packet)?;
            }
            Track::Sound => work.sound(&packet)?,
        }
    }
    control.check()?;
    work.end(of_ms)
}

struct Work {
    sight: decoder::Video,
    hearing: decoder::Audio,
    sound_base: Rational,
    scaler: Option<Scaler>,
    canvas: frame::Video,
    /// Whether the canvas shows a picture of the lesson.
    shown: bool,
    fps: Rational,
    /// Number of the next picture, and that of the lesson's first.
    next: i64,
    first: i64,
    pictures: Pictures,
    sounds: Sounds,
    writer: Writer,
}

impl Work {
    fn new(joined: &Joined, rendition: &Rendition, kbps: u32, target: &Target) -> anyhow::Result<Self> {
        let (sight, hearing) = decoders(joined)?;
        let (pictures, sounds) = (Pictures::new(rendition, kbps)?, Sounds::new(rendition.sound_kbps)?);
        let writer = Writer::new(target, pictures.parameters(), sounds.parameters(), SOUND)?;
        let mut canvas = frame::Video::new(format::Pixel::YUV420P, rendition.width, rendition.height);
        card::black(&mut canvas, Area { x: 0, y: 0, width: rendition.width, height: rendition.height });
        let title_s = rendition.title.as_ref().map_or(0, |t| t.seconds);
        Ok(Self {
            sight,
            hearing,
            sound_base: joined.sound_base(),
            scaler: None,
            canvas,
            shown: false,
            fps: Rational(1, i32::try_from(rendition.fps)?),
            next: 0,
            first: i64::from(title_s * rendition.fps),
            pictures,
            sounds,
            writer,
        })
    }

    /// A next take may have been encoded in another way.
    fn change(&mut self, joined: &Joined) -> anyhow::Result<()> {
        self.drain_decoders()?;
        (self.sight, self.hearing) = decoders(joined)?;
        Ok(())
    }

    fn picture(&mut self, packet: &Packet) -> anyhow::Result<()> {
        self.sight.send_packet(packet).context("a picture is damaged")?;
        self.receive_pictures()
    }

    fn receive_pictures(&mut self) -> anyhow::Result<()> {
        let mut picture = frame::Video::empty();
        while self.sight.receive_frame(&mut picture).is_ok() {
            let pts = picture.timestamp().context("a picture has no time")?;
            let n = self.first + pts.rescale(PICTURE, self.fps);
            // The picture before stays until this one's time; one that comes too soon is left out.
            while self.next < n {
                self.show()?;
            }
            if n >= self.next {
                self.scale(&picture)?;
                self.shown = true;
                self.show()?;
            }
        }
        Ok(())
    }

    fn show(&mut self) -> anyhow::Result<()> {
        self.pictures.encode(&mut self.canvas, self.next, &mut self.writer)?;
        self.next += 1;
        Ok(())
    }

    /// As large as it fits, in the middle, on black.
    fn scale(&mut self, picture: &frame::Video) -> anyhow::Result<()> {
        let (shape, all) = ((picture.width(), picture.height()), (self.canvas.width(), self.canvas.height()));
        let even = |n: u64| u32::try_from(n / 2 * 2).unwrap_or(0);
        let wide = u64::from(shape.0) * u64::from(all.1) >= u64::from(shape.1) * u64::from(all.0);
        let to = match wide {
            true => (all.0, even(u64::from(all.0) * u64::from(shape.1) / u64::from(shape.0.max(1)))),
            false => (even(u64::from(all.1) * u64::from(shape.0) / u64::from(shape.1.max(1))), all.1),
        };
        ensure!(to.0 > 0 && to.1 > 0, "the picture's shape cannot be brought into the rendition");
        let half = |room: u32| room / 2 / 2 * 2;
        let area = Area { x: half(all.0 - to.0), y: half(all.1 - to.1), width: to.0, height: to.1 };
        let fits = |s: &Scaler| s.fits(picture.format(), shape.0, shape.1, to);
        if !self.scaler.as_ref().is_some_and(fits) {
            card::black(&mut self.canvas, Area { x: 0, y: 0, width: all.0, height: all.1 });
            self.scaler = Some(Scaler::new(picture.format(), shape.0, shape.1, to)?);
        }
        match self.scaler.as_mut() {
            Some(scaler) => scaler.run(&ScaleSource::Frame(picture), &mut self.canvas, area),
            None => Ok(()),
        }
    }

    fn sound(&mut self, packet: &Packet) -> anyhow::Result<()> {
        self.hearing.send_packet(packet).context("sound is damaged")?;
        self.receive_sound()
    }

    fn receive_sound(&mut self) -> anyhow::Result<()> {
        let mut sound = frame::Audio::empty();
        while self.hearing.receive_frame(&mut sound).is_ok() {
            let planar = format::Sample::F32(format::sample::Type::Planar);
            ensure!(
                sound.format() == planar && sound.rate() == RATE && (1..=2).contains(&sound.planes()),
                "the sound is not what Lectern records: 48 kHz, one or two channels"
            );
            let pts = sound.timestamp().context("a piece of sound has no time")?;
            let title = self.first.rescale(self.fps, SOUND);
            let at = title + pts.rescale(self.sound_base, SOUND);
            let (left, right) = (sound.plane::<f32>(0), sound.plane::<f32>(sound.planes() - 1));
            // Sound from before the first picture would lie on the title.
            let early = usize::try_from(title - at).unwrap_or(0).min(left.len());
            self.sounds.place(at.max(title), [&left[early..], &right[early..]], &mut self.writer)?;
        }
        Ok(())
    }

    fn drain_decoders(&mut self) -> anyhow::Result<()> {
        self.sight.send_eof()?;
        self.receive_pictures()?;
        self.hearing.send_eof()?;
        self.receive_sound()
    }

    fn end(mut self, of_ms: u64) -> anyhow::Result<()> {
        self.drain_decoders()?;
        ensure!(self.shown, "no picture could be decoded");
        // A last picture that stood for longer than one time of the clock.
        let all = i64::try_from(of_ms)?.rescale(Rational(1, 1000), self.fps);
        while self.next < all {
            self.show()?;
        }
        self.pictures.end(&mut self.writer)?;
        self.sounds.end(&mut self.writer)?;
        self.writer.end()
    }
}

fn decoders(joined: &Joined) -> anyhow::Result<(decoder::Video, decoder::Audio)> {
    let [picture, sound] = joined.parameters();
    let mut sight = codec::context::Context::from_parameters(picture)?.decoder().video()?;
    let mut hearing = codec::context::Context::from_parameters(sound)?.decoder().audio()?;
    sight.set_packet_time_base(PICTURE);
    hearing.set_packet_time_base(joined.sound_base());
    Ok((sight, hearing))
}
