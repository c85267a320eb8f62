//! Pages that follow what happens: one stream that says "something changed"; the page then asks for
//! its part anew. Nothing but a number crosses, so a slow browser never falls behind.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};

use super::Console;
use super::guard::Who;

/// At most one message in this time.
const PACE: Duration = Duration::from_millis(1000);

/// The stream.
pub async fn live(
    State(console): State<Console>,
    _: Who,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (bell, stop) = (console.bell.listen(), console.inner.stop.clone());
    drop(console);
    let stream = stream::unfold((bell, stop, true), |(mut bell, stop, first)| async move {
        if !first {
            tokio::select! {
                rung = bell.changed() => rung.ok()?,
                () = stop.cancelled() => return None,
            }
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                () = stop.cancelled() => return None,
            }
        }
        let generation = *bell.borrow_and_update();
        Some((Ok(Event::default().event("change").data(generation.to_string())), (bell, stop, false)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}
