//! What was learnt of a broker that does not take every message.
//!
//! MQTT 3.1.1 has no word for "too large": a broker that is asked too much hangs up. Sent again as it was, the message
//! would end every connection to come. So batches of history shrink when a connection is lost while one is under way,
//! and one event that has ended many connections is given up, which is declared. Pure.

use std::time::Duration;

use lectern_wire::telemetry::MAX_PAYLOAD;

/// No broker is thought to refuse messages up to here, bytes: what is lost with them is the line's fault.
const SMALL: usize = 2 * 1024;
/// An event that has ended so many connections in a row is given up.
const TRIES: u32 = 8;
/// Batches grow again after this long: it may have been the line after all.
const GROW: Duration = Duration::from_secs(15 * 60);

/// Sizes, from connection to connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    batch: usize,
    shrunk: Duration,
    /// The event that was under way when connections were lost, and how many.
    suspect: Option<(u64, u32)>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { batch: MAX_PAYLOAD, shrunk: Duration::ZERO, suspect: None }
    }
}

/// The largest things under way when a connection was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Bytes of a batch of history.
    pub batch: Option<usize>,
    /// Number and bytes of an event.
    pub event: Option<(u64, usize)>,
}

impl Sizes {
    /// The largest batch of history, bytes.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// A connection begins.
    pub fn begin(&mut self, now: Duration) {
        if self.batch < MAX_PAYLOAD && now.saturating_sub(self.shrunk) > GROW {
            (self.batch, self.shrunk) = ((self.batch * 2).min(MAX_PAYLOAD), now);
        }
    }

    /// A connection was lost; gives the event that is to be given up.
    #[must_use]
    pub fn lost(&mut self, way: UnderWay, now: Duration) -> Option<u64> {
        if let Some(bytes) = way.batch.filter(|bytes| *bytes > SMALL) {
            (self.batch, self.shrunk) = ((bytes / 2).max(SMALL), now);
            return None;
        }
        let (seq, _) = way.event.filter(|(_, bytes)| *bytes > SMALL)?;
        let times = self.suspect.filter(|(before, _)| *before == seq).map_or(1, |(_, times)| times + 1);
        self.suspect = (times < TRIES).then_some((seq, times));
        (times >= TRIES).then_some(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn batches_shrink_to_what_a_broker_takes_and_grow_again_slowly() {
        let mut sizes = Sizes::default();
        let mut losses = 0;
        // A broker that hangs up above 3000 bytes.
        while sizes.batch() > 3000 {
            let way = UnderWay { batch: Some(sizes.batch()), event: None };
            assert_eq!(sizes.lost(way, S(losses)), None);
            losses += 1;
        }
        assert_eq!((losses, sizes.batch()), (3, 2048));
        sizes.begin(S(60));
        assert_eq!(sizes.batch(), 2048);
        sizes.begin(S(1000));
        assert_eq!(sizes.batch(), 4096);
        assert_eq!(sizes.lost(UnderWay { batch: Some(900), event: None }, S(1001)), None);
        assert_eq!(sizes.batch(), 4096, "a small batch was not too large");
    }

    #[test]
    fn an_event_that_ends_every_connection_is_given_up_and_a_small_one_never() {
        let mut sizes = Sizes::default();
        let large = UnderWay { batch: None, event: Some((5, 9000)) };
        let given_up: Vec<_> = (0..TRIES).map(|n| sizes.lost(large, S(n.into()))).collect();
        assert_eq!(given_up.iter().flatten().count(), 1);
        assert_eq!(given_up.last(), Some(&Some(5)));
        let small = UnderWay { batch: None, event: Some((6, 500)) };
        assert!((0..100).all(|n| sizes.lost(small, S(n)).is_none()));
        for n in 0..TRIES {
            let way = UnderWay { batch: None, event: Some((7 + u64::from(n), 9000)) };
            assert_eq!(sizes.lost(way, S(0)), None, "each of them went in the end");
        }
    }
}
