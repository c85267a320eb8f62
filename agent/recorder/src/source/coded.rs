//! A camera's own pictures, as they come over the wire: kept for a take that copies them.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use ffmpeg_next::codec::{self, Parameters};
use ffmpeg_next::{Packet, Rational};
use lectern_base::clock;

use super::lock;

/// Packets kept while nobody takes them: more than a group of pictures of any camera.
const MOST: usize = 1500;

/// One coded picture.
pub struct Coded {
    pub packet: Packet,
    /// Of the packet's times.
    pub base: Rational,
    /// When it arrived, monotonic.
    pub at: Duration,
    /// Counts the camera's connections.
    pub connection: u32,
}

/// What a camera sends, while somebody wants it as it is.
#[derive(Default)]
pub struct Wire(Mutex<Option<Kept>>);

#[derive(Default)]
struct Kept {
    queue: VecDeque<Coded>,
    parameters: Option<Parameters>,
    connection: u32,
    /// When the newest arrived.
    last: Option<Duration>,
}

impl Wire {
    /// From now on pictures are kept as they come, and not decoded; or decoded again.
    pub fn want(&self, wanted: bool) {
        *lock(&self.0) = wanted.then(Kept::default);
    }

    /// A new connection, with what a decoder must know.
    pub(super) fn connected(&self, parameters: &Parameters) {
        if let Some(kept) = lock(&self.0).as_mut() {
            kept.connection += 1;
            kept.parameters = Some(parameters.clone());
        }
    }

    /// Keeps a picture if it is wanted as it is; gives it back if not.
    pub(super) fn keep(&self, packet: Packet, base: Rational) -> Option<Packet> {
        let mut kept = lock(&self.0);
        let Some(kept) = kept.as_mut() else { return Some(packet) };
        if kept.queue.len() >= MOST {
            kept.queue.pop_front();
        }
        let at = clock::mono();
        kept.last = Some(at);
        kept.queue.push_back(Coded { packet, base, at, connection: kept.connection });
        None
    }

    /// Takes all that has arrived.
    pub fn take(&self) -> Vec<Coded> {
        lock(&self.0).as_mut().map(|kept| kept.queue.drain(..).collect()).unwrap_or_default()
    }

    /// When the newest picture arrived.
    pub fn last(&self) -> Option<Duration> {
        lock(&self.0).as_ref()?.last
    }

    /// What a decoder of the newest connection must know, once there is one.
    pub fn parameters(&self) -> Option<Parameters> {
        lock(&self.0).as_ref()?.parameters.clone()
    }

    /// The first key frame that waits: everything before it is let go.
    pub fn first_key(&self) -> Option<(Packet, Duration)> {
        let mut kept = lock(&self.0);
        let queue = &mut kept.as_mut()?.queue;
        while queue.front().is_some_and(|coded| !coded.packet.is_key()) {
            queue.pop_front();
        }
        queue.front().map(|coded| (coded.packet.clone(), coded.at))
    }

    /// Whether the newest connection sends H.264.
    pub fn is_h264(&self) -> Option<bool> {
        self.parameters().map(|parameters| parameters.id() == codec::Id::H264)
    }
}
