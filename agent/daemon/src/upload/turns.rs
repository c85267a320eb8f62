//! Whose bytes go now. A part asks for its leave before its turn and hears the answer after it, so that nothing but bytes
//! takes a lane's time: on a long line these two waits are a tenth of a part.
//!
//! ```text
//! lane   ║ part 1 ═══════════╗╔ part 2 ═══════════╗╔ part 3 …
//!          leave for 2 ──▶ ✓ ╚╝ answer for 1, leave for 3
//! ```

use tokio::sync::watch;

/// Lets so many parts send at once.
#[derive(Debug)]
pub struct Turns(watch::Sender<Lanes>);

#[derive(Debug, Clone, Copy)]
struct Lanes {
    most: usize,
    sending: usize,
    over: bool,
}

impl Turns {
    /// `most` at once.
    pub fn new(most: usize) -> Self {
        Self(watch::Sender::new(Lanes { most, sending: 0, over: false }))
    }

    /// So many at once from now on; who is sending goes on.
    pub fn set(&self, most: usize) {
        self.0.send_if_modified(|lanes| std::mem::replace(&mut lanes.most, most) != most);
    }

    /// Nobody has a turn any more; who is sending goes on.
    pub fn end(&self) {
        self.0.send_modify(|lanes| lanes.over = true);
    }

    /// Waits for a turn, and holds it until the answer is dropped; none once there are no more.
    pub async fn next(&self) -> Option<Turn> {
        let mut changed = self.0.subscribe();
        let take = |lanes: &mut Lanes| {
            let free = lanes.sending < lanes.most && !lanes.over;
            lanes.sending += usize::from(free);
            free
        };
        while !self.0.send_if_modified(take) {
            if self.0.borrow().over || changed.changed().await.is_err() {
                return None;
            }
        }
        Some(Turn(self.0.clone()))
    }
}

/// A part's turn, while it lives.
#[derive(Debug)]
pub struct Turn(watch::Sender<Lanes>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.send_modify(|lanes| lanes.sending = lanes.sending.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn comes(turns: &Turns) -> Option<Turn> {
        tokio::time::timeout(Duration::from_millis(500), turns.next()).await.ok().flatten()
    }

    #[tokio::test]
    async fn so_many_have_a_turn_as_there_are_lanes() {
        let turns = Turns::new(1);
        let first = comes(&turns).await.expect("a free lane");
        assert!(comes(&turns).await.is_none(), "one lane");
        turns.set(2);
        let second = comes(&turns).await.expect("another lane");
        turns.set(1);
        drop(first);
        assert!(comes(&turns).await.is_none(), "a lane was taken away");
        drop(second);
        assert!(comes(&turns).await.is_some());
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_whoever_is_done() {
        let turns = Turns::new(1);
        let first = turns.next().await;
        let (waited, ()) = tokio::join!(comes(&turns), async { drop(first) });
        assert!(waited.is_some());
        let (waited, ()) = tokio::join!(turns.next(), async { turns.end() });
        assert!(waited.is_none(), "there are no more");
    }
}
