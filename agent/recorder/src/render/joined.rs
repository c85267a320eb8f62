//! The pieces of a lesson, one after the other, as packets on one timeline that begins at zero.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

use anyhow::Context as _;
use ffmpeg_next::{Packet, Rational, Rescale as _, codec, format, media::Type};
use lectern_wire::render::Piece;

use super::file::{PICTURE, Track};

/// A take's initialisation and some of its fragments: each fragment stands alone, so the rest need not be read.
struct Slice {
    init: io::Take<File>,
    rest: io::Take<File>,
}

impl Slice {
    fn open(piece: &Piece) -> io::Result<Self> {
        let init = File::open(&piece.take)?.take(piece.init);
        let mut rest = File::open(&piece.take)?;
        rest.seek(SeekFrom::Start(piece.from))?;
        Ok(Self { init, rest: rest.take(piece.to - piece.from) })
    }
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.init.read(buffer)? {
            0 => self.rest.read(buffer),
            n => Ok(n),
        }
    }
}

/// One open piece.
struct Open {
    input: format::context::Input,
    picture: (usize, Rational),
    sound: (usize, Rational),
    /// What is added to its times.
    shift: Option<i64>,
    /// Sound that came before the first picture.
    early: VecDeque<Packet>,
    /// Pictures from here on are left out, in [`PICTURE`].
    end: i64,
}

/// All pieces. Times of pictures are in [`PICTURE`], those of sound in [`Joined::sound_base`].
pub struct Joined {
    pieces: VecDeque<Piece>,
    open: Option<Open>,
    parameters: [codec::Parameters; 2],
    sound_base: Rational,
    piece: usize,
    /// Where the piece being read begins, in [`PICTURE`], and where its last picture ends.
    begins: i64,
    ends: i64,
    /// Where the last sound ends.
    heard: i64,
}

impl Joined {
    /// Opens the first piece.
    pub fn open(pieces: &[Piece]) -> anyhow::Result<Self> {
        let mut pieces: VecDeque<Piece> = pieces.iter().cloned().collect();
        let first = pieces.pop_front().context("there is nothing to cut out")?;
        let (open, parameters) = open(&first)?;
        let sound_base = open.sound.1;
        Ok(Self {
            pieces,
            open: Some(open),
            parameters,
            sound_base,
            piece: 0,
            begins: 0,
            ends: 0,
            heard: i64::MIN,
        })
    }

    /// What the tracks of the piece being read hold.
    pub fn parameters(&self) -> [codec::Parameters; 2] {
        self.parameters.clone()
    }

    /// Time base of the sound.
    pub fn sound_base(&self) -> Rational {
        self.sound_base
    }

    /// Which piece is being read, from 0.
    pub fn piece(&self) -> usize {
        self.piece
    }

    /// The next packet on the common timeline.
    pub fn read(&mut self) -> anyhow::Result<Option<(Track, Packet)>> {
        loop {
            let Some(open) = self.open.as_mut() else { return Ok(None) };
            let packet = match open.next() {
                Some(packet) => packet?,
                None => {
                    self.next_piece()?;
                    continue;
                }
            };
            if packet.stream() == open.picture.0 {
                if let Some(packet) = self.picture(packet)? {
                    return Ok(Some((Track::Picture, packet)));
                }
            } else if let Some(packet) = self.sound(packet)? {
                return Ok(Some((Track::Sound, packet)));
            }
        }
    }

    fn picture(&mut self, mut packet: Packet) -> anyhow::Result<Option<Packet>> {
        let Some(open) = self.open.as_mut() else { return Ok(None) };
        packet.rescale_ts(open.picture.1, PICTURE);
        let dts = packet.dts().context("a picture has no time")?;
        let pts = packet.pts().unwrap_or(dts);
        let shift = *open.shift.get_or_insert(self.begins - pts);
        if pts >= open.end {
            return Ok(None);
        }
        packet.set_pts(Some(pts + shift));
        packet.set_dts(Some(dts + shift));
        self.ends = self.ends.max(pts + shift + packet.duration());
        Ok(Some(packet))
    }

    fn sound(&mut self, mut packet: Packet) -> anyhow::Result<Option<Packet>> {
        let Some(open) = self.open.as_mut() else { return Ok(None) };
        let Some(shift) = open.shift else {
            open.early.push_back(packet);
            return Ok(None);
        };
        let pts = packet.pts().context("a piece of sound has no time")?;
        let length = packet.duration().max(0);
        if pts.rescale(open.sound.1, PICTURE) >= open.end {
            return Ok(None);
        }
        packet.rescale_ts(open.sound.1, self.sound_base);
        let at = pts.rescale(open.sound.1, self.sound_base) + shift.rescale(PICTURE, self.sound_base);
        // A next take's first sound only primes the decoder, which knows the last one already.
        if at < self.heard {
            return Ok(None);
        }
        self.heard = at + length.rescale(open.sound.1, self.sound_base);
        packet.set_pts(Some(at));
        packet.set_dts(Some(at));
        Ok(Some(packet))
    }

    fn next_piece(&mut self) -> anyhow::Result<()> {
        self.begins = self.ends;
        self.open = match self.pieces.pop_front() {
            None => None,
            Some(piece) => {
                let (open, parameters) = self::open(&piece)?;
                self.parameters = parameters;
                self.piece += 1;
                Some(open)
            }
        };
        Ok(())
    }
}

impl Open {
    fn next(&mut self) -> Option<anyhow::Result<Packet>> {
        if self.shift.is_some()
            && let Some(packet) = self.early.pop_front()
        {
            return Some(Ok(packet));
        }
        loop {
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if [self.picture.0, self.sound.0].contains(&packet.stream()) => {
                    return Some(Ok(packet));
                }
                Ok(()) => {}
                Err(ffmpeg_next::Error::Eof) => return None,
                Err(e) => return Some(Err(e).context("a take breaks off")),
            }
        }
    }
}

fn open(piece: &Piece) -> anyhow::Result<(Open, [codec::Parameters; 2])> {
    let slice = Slice::open(piece).with_context(|| piece.take.clone())?;
    let io = format::context::StreamIo::from_read(slice);
    let io = io.map_err(|e| anyhow::anyhow!("no memory for a take: {e}"))?;
    let input = format::input_from_stream(io, Some("take.mp4"), None).with_context(|| piece.take.clone())?;
    let video = input.streams().best(Type::Video).context("there is no picture")?;
    let audio = input.streams().best(Type::Audio).context("there is no sound")?;
    let parameters = [video.parameters(), audio.parameters()];
    let (picture, sound) = ((video.index(), video.time_base()), (audio.index(), audio.time_base()));
    let end = i64::try_from(piece.end_ms)?.rescale(Rational(1, 1000), PICTURE);
    Ok((Open { input, picture, sound, shift: None, early: VecDeque::new(), end }, parameters))
}
