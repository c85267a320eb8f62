//! A panic is a bug of ours, and no reason for a classroom to go without: it is logged, counted, and what it happened in
//! ends alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

static COUNT: AtomicU64 = AtomicU64::new(0);

#[cfg(any(test, feature = "mangle"))]
thread_local! {
    /// Inside [`survived`].
    static SURVIVED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// From now on panics are counted, and logged with their place instead of printed. Called once, after the log is there.
/// Of what a panic says only its first line is kept: it may hold what had just arrived.
pub fn watch() {
    std::panic::set_hook(Box::new(|panic| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let said = panic.payload_as_str().unwrap_or("no words");
        let said: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
        tracing::error!(at, "a bug: {said}");
    }));
}

/// For tests that bring panics about on purpose: they and survive them: those are not printed.
#[cfg(any(test, feature = "mangle"))]
pub fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !SURVIVED.with(std::cell::Cell::get) {
                before(panic);
            }
        }));
    });
}

/// Panics since the start.
#[must_use]
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Does the work; `None` when it panicked.
pub fn survived<T>(work: impl FnOnce() -> T) -> Option<T> {
    // What a panic leaves half done is given up with the request or message it belonged to.
    #[cfg(any(test, feature = "mangle"))]
    SURVIVED.with(|inside| inside.set(true));
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    #[cfg(any(test, feature = "mangle"))]
    SURVIVED.with(|inside| inside.set(false));
    done
}

/// As [`survived`], for work that waits.
pub async fn survive<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| match survived(|| work.as_mut().poll(context)) {
        Some(Poll::Pending) => Poll::Pending,
        Some(Poll::Ready(done)) => Poll::Ready(Some(done)),
        None => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_counted_and_survived() {
        watch();
        let before = count();
        assert_eq!(survived(|| 1), Some(1));
        assert_eq!(survived(|| "x".parse::<u32>().expect("no number")), None);
        assert_eq!(count(), before + 1);
    }
}
