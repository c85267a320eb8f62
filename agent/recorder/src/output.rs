//! Where encoded packets go: before the press nowhere, or into a ring in memory; from the press on into the take.
//!
//! The encoders' clocks run on through all of it; a take's own time begins at its first picture, the origin.

use std::collections::VecDeque;
use std::time::Duration;

use ffmpeg_next::{Packet, Rational, codec};
use lectern_wire::live::LiveState;

use crate::av::Mux;
use crate::encode::Packets;
use crate::push::Push;
use crate::waiting::{At, Waiting};

/// The newest packets, in memory only: whole groups from a key frame on.
struct Ring {
    length: Duration,
    packets: VecDeque<Waiting>,
    /// Times of the key frames among them, microseconds.
    keys: VecDeque<i64>,
}

impl Ring {
    fn push(&mut self, waiting: Waiting) {
        let now = waiting.at().micros();
        if waiting.is_key() {
            self.keys.push_back(now);
        }
        self.packets.push_back(waiting);
        let length = i64::try_from(self.length.as_micros()).unwrap_or(i64::MAX);
        // The first group goes when what follows it is long enough alone.
        while self.keys.get(1).is_some_and(|second| now - second >= length) {
            self.keys.pop_front();
            self.packets.pop_front();
            while self.packets.front().is_some_and(|p| !p.is_key()) {
                self.packets.pop_front();
            }
        }
    }
}

enum State {
    /// Nothing is kept.
    Armed,
    /// The newest is kept in memory.
    Ring(Ring),
    /// Everything goes into the take, whose time 0 is this.
    Take(At),
}

/// What was kept before the press.
pub struct Kept {
    /// The tick of its first picture.
    pub origin: i64,
    /// Its fragments, each with the take's time at its end.
    pub fragments: Vec<(Vec<u8>, u64)>,
}

/// Where encoded packets go.
pub struct Output {
    mux: Mux,
    state: State,
    /// What a decoder must know of picture and sound.
    parameters: [codec::Parameters; 2],
    push: Option<Push>,
    /// It was ended, and that was not yet said.
    live_ended: bool,
}

impl Output {
    /// Ready for one picture and one sound track; a ring length makes it keep the newest from now on.
    pub fn new(
        video: codec::Parameters,
        audio: codec::Parameters,
        ring: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let state = ring.map_or(State::Armed, |length| {
            State::Ring(Ring { length, packets: VecDeque::new(), keys: VecDeque::new() })
        });
        let parameters = [video.clone(), audio.clone()];
        Ok(Self { mux: Mux::new(video, audio)?, state, parameters, push: None, live_ended: false })
    }

    /// From now on what goes into the take is also sent live to this address, or no more. It takes its time beside
    /// the recording.
    pub fn send_live(&mut self, url: Option<&str>) -> anyhow::Result<()> {
        let [video, audio] = &self.parameters;
        let push = url.map(|url| Push::start(url, [video.clone(), audio.clone()]));
        if let Some(mut before) = std::mem::replace(&mut self.push, push.transpose()?) {
            before.end();
            self.live_ended = self.push.is_none();
        }
        Ok(())
    }

    /// Where sending it live stands, when that has changed since it was last asked.
    pub fn live_change(&mut self) -> Option<(LiveState, String)> {
        match &mut self.push {
            Some(push) => push.change(),
            None => std::mem::take(&mut self.live_ended).then(Default::default),
        }
    }

    /// Whether it is to be sent live.
    pub fn is_live(&self) -> bool {
        self.push.is_some()
    }

    /// The take has ended: gives what is still to be sent a moment.
    pub fn close_live(&mut self) {
        if let Some(mut push) = self.push.take() {
            push.close();
        }
    }

    /// Whether something is kept before the press.
    pub fn keeps(&self) -> bool {
        matches!(self.state, State::Ring(_))
    }

    /// From now on everything goes into the take: first what was kept, if anything was. Without it the take's time 0
    /// is at tick `tick` of `fps` a second.
    pub fn begin(&mut self, tick: i64, fps: u32) -> anyhow::Result<Option<Kept>> {
        let now = At(tick, Rational(1, i32::try_from(fps)?));
        let State::Ring(ring) = std::mem::replace(&mut self.state, State::Take(now)) else { return Ok(None) };
        let Some(first) = ring.packets.front().filter(|p| p.is_key()) else { return Ok(None) };
        let origin = first.at();
        self.state = State::Take(origin);
        let mut fragments = Vec::new();
        for waiting in ring.packets {
            if waiting.is_key() && waiting.at().micros() > origin.micros() {
                let ms = (waiting.at().micros() - origin.micros()) / 1000;
                fragments.push((self.mux.cut()?, u64::try_from(ms).unwrap_or(0)));
            }
            self.write(waiting)?;
        }
        Ok(Some(Kept { origin: origin.to(now.1), fragments }))
    }

    fn write(&mut self, Waiting { mut packet, base, sound }: Waiting) -> anyhow::Result<()> {
        let State::Take(origin) = &self.state else { return Ok(()) };
        let origin = origin.to(base);
        // Sound lags behind its picture: some of what comes after the first one belongs before it.
        if sound && packet.pts().unwrap_or(0) + packet.duration() <= origin && origin > 0 {
            return Ok(());
        }
        packet.set_pts(packet.pts().map(|pts| pts - origin));
        packet.set_dts(packet.dts().map(|dts| dts - origin));
        if sound { self.mux.audio(packet, base) } else { self.mux.video(packet, base) }
    }

    fn take_in(&mut self, waiting: Waiting) -> anyhow::Result<()> {
        match &mut self.state {
            State::Armed => Ok(()),
            State::Ring(ring) => {
                ring.push(waiting);
                Ok(())
            }
            State::Take(_) => {
                if let Some(push) = &self.push {
                    push.offer(&waiting);
                }
                self.write(waiting)
            }
        }
    }

    /// Ends the open fragment and gives its bytes.
    pub fn cut(&mut self) -> anyhow::Result<Vec<u8>> {
        self.mux.cut()
    }
}

impl Packets for Output {
    fn video(&mut self, packet: Packet, base: Rational) -> anyhow::Result<()> {
        self.take_in(Waiting { packet, base, sound: false })
    }
    fn audio(&mut self, packet: Packet, base: Rational) -> anyhow::Result<()> {
        self.take_in(Waiting { packet, base, sound: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::tests::picture;

    #[test]
    fn the_ring_keeps_whole_groups_and_little_more_than_it_should() {
        let mut ring =
            Ring { length: Duration::from_secs(5), packets: VecDeque::new(), keys: VecDeque::new() };
        for tick in 0..2000 {
            ring.push(picture(tick));
            let first = ring.packets.front().map(|p| (p.is_key(), p.at().micros()));
            let (key, first) = first.expect("never empty");
            let held = tick * 40_000 - first;
            assert!(key, "it begins with a key frame");
            assert!(held >= 5_000_000.min(tick * 40_000) && held < 7_000_000, "{held} µs at tick {tick}");
        }
    }
}
