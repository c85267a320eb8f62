//! What waits to be sent. It never grows beyond its bounds: when the line is too slow or gone, whole groups of
//! pictures are left out, with the sound that belongs to them, and what is sent goes on with a key frame.

use std::collections::VecDeque;

use crate::waiting::Waiting;

/// Longest time that may wait, microseconds. A group is two seconds.
const LONGEST_US: i64 = 6_000_000;
/// Most bytes that may wait.
const MOST_BYTES: usize = 8 << 20;

/// Packets that wait, from a key frame on.
#[derive(Default)]
pub struct Queue {
    packets: VecDeque<Waiting>,
    bytes: usize,
    /// Whether the next must be a key frame of the picture.
    begun: bool,
}

impl Queue {
    /// Adds a packet; true when others had to be left out for it.
    pub fn push(&mut self, waiting: &Waiting) -> bool {
        self.begun |= waiting.is_key();
        if !self.begun {
            return false;
        }
        self.bytes += waiting.packet.size();
        self.packets.push_back(waiting.clone());
        let first = self.packets.front().map_or(0, |first| first.at().micros());
        let full = self.bytes > MOST_BYTES || waiting.at().micros() - first > LONGEST_US;
        if full && !self.skip() {
            // One single group is too long: it cannot be caught up with.
            self.clear();
        }
        full
    }

    /// Leaves out all that comes before the newest key frame; false when that is nothing.
    pub fn skip(&mut self) -> bool {
        let newest = self.packets.iter().rposition(Waiting::is_key).unwrap_or(0);
        for left_out in self.packets.drain(..newest) {
            self.bytes -= left_out.packet.size();
        }
        newest > 0
    }

    /// Leaves out everything and goes on with the next key frame.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next to be sent.
    pub fn pop(&mut self) -> Option<Waiting> {
        let next = self.packets.pop_front()?;
        self.bytes -= next.packet.size();
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::tests::picture;

    #[test]
    fn what_is_sent_begins_with_a_key_frame() {
        let mut queue = Queue::default();
        assert!((30..50).all(|tick| !queue.push(&picture(tick))));
        assert!(queue.pop().is_none());
        queue.push(&picture(50));
        queue.push(&picture(51));
        assert!(queue.pop().is_some_and(|first| first.is_key()));
        assert!(queue.pop().is_some_and(|second| !second.is_key()));
    }

    #[test]
    fn a_server_that_takes_nothing_costs_whole_groups_and_bounded_memory() {
        let mut queue = Queue::default();
        let left_out = (0..2000).filter(|tick| queue.push(&picture(*tick))).count();
        assert!(left_out > 10);
        assert!(queue.packets.len() <= 151 && queue.packets.front().is_some_and(Waiting::is_key));
        assert_eq!(queue.bytes, queue.packets.len() * 8);
    }

    #[test]
    fn a_group_without_an_end_is_left_out_whole() {
        let mut queue = Queue::default();
        for tick in 1..400 {
            // Never another key frame after the first.
            let mut waiting = picture(if tick == 1 { 50 } else { 50 * 50 + 1 });
            waiting.packet.set_pts(Some(tick));
            queue.push(&waiting);
        }
        assert!(queue.pop().is_none() && queue.bytes == 0);
    }
}
