//! What time the hub has: the `Date` of an HTTP answer, now and then.

use std::sync::Arc;
use std::time::Duration;

use lectern_base::{chance, clock};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::platform::{http, rest};
use crate::store::Store;

/// Between two questions, once the hub has answered.
const EVERY: Duration = Duration::from_secs(30 * 60);
/// While it has not.
const RETRY: Duration = Duration::from_secs(2 * 60);

/// Runs until told to stop.
pub async fn run(store: Store, http: Arc<http::Client>, hub: Url, stop: CancellationToken) {
    // A school's rooms are switched on in the same minute.
    let mut wait = Duration::from_millis(2000 + chance::below(8000));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = rest::about(wait) => {}
        }
        wait = tokio::select! {
            () = stop.cancelled() => return,
            heard = ask(&store, &http, &hub) => match heard {
                Ok(()) => EVERY,
                Err(why) => {
                    tracing::debug!("the hub's time is not known: {why}");
                    RETRY
                }
            },
        };
    }
}

async fn ask(store: &Store, http: &http::Client, hub: &Url) -> Result<(), String> {
    let url = hub.join("/api/v1/hub").map_err(|e| e.to_string())?;
    let asked = clock::boot();
    let call = http.call(reqwest::Method::GET, url).timeout(Duration::from_secs(10));
    let answer = call.send().await.map_err(|e| e.to_string())?;
    let date = answer.headers().get(reqwest::header::DATE).and_then(|date| date.to_str().ok());
    let hub_ms = date.and_then(unix_ms).ok_or("its answer has no date")?;
    store.line().hub_told(hub_ms, asked, clock::boot());
    Ok(())
}

/// `Tue, 24 Nov 2026 22:11:32 GMT`: a whole second, on the average half a second ago.
fn unix_ms(date: &str) -> Option<i64> {
    let stamp = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(stamp.as_millisecond() + 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_date_is_read() {
        assert_eq!(unix_ms("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1500));
        assert_eq!(unix_ms("yesterday"), None);
    }
}
