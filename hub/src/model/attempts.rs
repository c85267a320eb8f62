//! Wrong tries from one address: after a few it waits.

use std::collections::HashMap;
use std::net::IpAddr;

/// Wrong tries from one address before it waits.
const MOST_WRONG: u32 = 8;
/// How long it waits.
const WAIT_MS: i64 = 5 * 60 * 1000;
/// Addresses remembered.
const MOST_ADDRESSES: usize = 10_000;

/// Wrong tries, by address: how many, and since when.
#[derive(Debug, Default)]
pub struct Attempts(HashMap<IpAddr, (u32, i64)>);

impl Attempts {
    /// Notes a try before it is checked; false when this address must wait.
    pub fn begin(&mut self, from: IpAddr, now: i64) -> bool {
        if self.0.len() >= MOST_ADDRESSES {
            self.0.retain(|_, (_, since)| now - *since < WAIT_MS);
        }
        if self.0.len() >= MOST_ADDRESSES && !self.0.contains_key(&from) {
            return false;
        }
        let entry = self.0.entry(from).or_insert((0, now));
        if now - entry.1 >= WAIT_MS {
            *entry = (0, now);
        }
        entry.0 += 1;
        entry.0 <= MOST_WRONG
    }

    /// The try was right.
    pub fn right(&mut self, from: IpAddr) {
        self.0.remove(&from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_after_too_many_wrong_tries_and_only_that_one() {
        let mut attempts = Attempts::default();
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert!((0..MOST_WRONG).all(|_| attempts.begin(a, 0)));
        assert!(!attempts.begin(a, 1));
        assert!(attempts.begin(b, 1));
        assert!(attempts.begin(a, WAIT_MS));
    }
}
