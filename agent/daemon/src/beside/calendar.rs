//! Opencast's calendar (RFC 5545, as far as it is used there): which event is on, so that its title can be shown. A
//! calendar only suggests; nothing here starts a recording.

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its title.
    pub title: String,
    /// When it begins, Unix milliseconds.
    pub begins_ms: i64,
    /// When it ends.
    pub ends_ms: i64,
}

/// The events of a calendar; those that cannot be read are left out.
pub fn events(text: &str) -> Vec<Event> {
    // A line that begins with a space goes on the one before.
    let text = text.replace("\r\n ", "").replace("\r\n\t", "").replace("\n ", "").replace("\n\t", "");
    let (mut found, mut now) = (Vec::new(), None::<[Option<String>; 3]>);
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match (name.split(';').next().unwrap_or_default(), value) {
            ("BEGIN", "VEVENT") => now = Some([None, None, None]),
            ("END", "VEVENT") => {
                if let Some([Some(title), Some(begins), Some(ends)]) = now.take()
                    && let (Some(begins_ms), Some(ends_ms)) = (moment(&begins), moment(&ends))
                {
                    found.push(Event { title: unescaped(&title), begins_ms, ends_ms });
                }
            }
            (name, value) => {
                let at = ["SUMMARY", "DTSTART", "DTEND"].iter().position(|known| *known == name);
                if let (Some(at), Some(now)) = (at, &mut now) {
                    now[at] = Some(value.to_owned());
                }
            }
        }
    }
    found
}

/// `20260912T023000Z`.
fn moment(text: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text.trim()).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut escaped = false;
    for c in text.chars() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (true, 'n' | 'N') => (out, escaped) = (out + " ", false),
            (_, c) => {
                out.push(c);
                escaped = false;
            }
        }
    }
    // It is shown on a page: one line, and not for ever.
    out.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// The event that is on, or begins within ten minutes.
pub fn current(events: &[Event], now_ms: i64) -> Option<&Event> {
    const AHEAD_MS: i64 = 10 * 60 * 1000;
    events
        .iter()
        .filter(|e| e.begins_ms - AHEAD_MS <= now_ms && now_ms < e.ends_ms)
        .min_by_key(|e| e.begins_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "BEGIN:VCALENDAR\r\nPRODID:Opencast Calendar File 0.5\r\nBEGIN:VEVENT\r\nUID:a\r\n\
        SUMMARY:草船借\r\n 箭\\, 第1课时\r\nDTSTART:20260912T023000Z\r\nDTEND:20260912T031000Z\r\n\
        ATTACH;FMTTYPE=application/text;X-APPLE-FILENAME=x.properties:b3JnLm9w\r\nEND:VEVENT\r\n\
        BEGIN:VEVENT\r\nSUMMARY:broken\r\nDTSTART:tomorrow\r\nDTEND:20260912T031000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    #[test]
    fn a_folded_title_is_read_and_an_event_without_a_time_is_left_out() {
        let found = events(TEXT);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].title.as_str(), found[0].ends_ms - found[0].begins_ms),
            ("草船借箭, 第1课时", 40 * 60 * 1000)
        );
        assert!(events("rubbish\nBEGIN:VEVENT\n: \n\u{0}").is_empty());
    }

    #[test]
    fn an_event_is_suggested_from_ten_minutes_before_until_it_ends() {
        let found = events(TEXT);
        let (begins, ends) = (found[0].begins_ms, found[0].ends_ms);
        for (now, shown) in
            [(begins - 600_001, false), (begins - 600_000, true), (ends - 1, true), (ends, false)]
        {
            assert_eq!(current(&found, now).is_some(), shown, "{now}");
        }
    }
}
