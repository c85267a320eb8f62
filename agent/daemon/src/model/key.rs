//! A physical key beside the page's button: what its presses mean. Pure; time is an argument.
//!
//! ```text
//!      ┌─down, and it begins a lesson──▶ spent ◀──held for a second: long, the lesson ends──┐
//!  up ─┤                                   │                                                │
//!      └─down, while a lesson records──────┼───────────────────▶ held ──────────────────────┘
//!  ▲                                       │ released             │ released: short, a mark; or go on, when paused
//!  └───────────────────────────────────────┴──────────────────────┘
//! ```
//!
//! A bump must not end a lesson, so only holding does; and one press has one meaning, so the press that began
//! a lesson can do nothing more to it. A key that chatters (contacts bounce for milliseconds) is still one press:
//! it begins with the first touch and has ended when it was up for [`SETTLE`].

use std::time::Duration;

/// A key that was up for so long has been released.
pub const SETTLE: Duration = Duration::from_millis(50);

/// Kinds of events that matter, and the one value of `EV_SYN` that does: by the kernel's `linux/input-event-codes.h`.
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_DROPPED: u16 = 3;

/// One event of an input device: the kernel's `struct input_event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputEvent {
    /// When the kernel noted it; only differences mean anything.
    pub at: Duration,
    /// What kind of event.
    pub kind: u16,
    /// Which key.
    pub code: u16,
    /// 0 up, 1 down, 2 repeated.
    pub value: i32,
}

impl InputEvent {
    /// Bytes of an event on 64-bit machines: seconds and microseconds of 8 bytes each, kind, code, value.
    pub const BYTES: usize = 24;

    /// Reads one.
    #[must_use]
    pub fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, k0, k1, c0, c1, v0, v1, v2, v3] = *bytes;
        let seconds = i64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        let micros = i64::from_ne_bytes([i, j, k, l, m, n, o, p]);
        let at = seconds.saturating_mul(1_000_000).saturating_add(micros);
        Self {
            at: Duration::from_micros(u64::try_from(at).unwrap_or(0)),
            kind: u16::from_ne_bytes([k0, k1]),
            code: u16::from_ne_bytes([c0, c1]),
            value: i32::from_ne_bytes([v0, v1, v2, v3]),
        }
    }
}

/// What a press comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It has just gone down. Whoever begins a lesson by it [spends](Key::spend) it.
    Down,
    /// It was released before it was held long enough.
    Short,
    /// It has been held long enough.
    Long,
}

/// A key and the press that is going on.
#[derive(Debug)]
pub struct Key {
    code: Option<u16>,
    hold: Duration,
    press: Option<Press>,
}

#[derive(Debug)]
struct Press {
    code: u16,
    /// By our clock, and by the device's stamps.
    since: (Duration, Duration),
    up: Option<(Duration, Duration)>,
    spent: bool,
}

impl Key {
    /// A key of one code, or any of a device's; `hold` is how long a long press lasts.
    #[must_use]
    pub fn new(code: Option<u16>, hold: Duration) -> Self {
        Self { code, hold, press: None }
    }

    /// Takes in an event that was read at `now`.
    pub fn hear(&mut self, event: InputEvent, now: Duration) -> Vec<Act> {
        if (event.kind, event.code) == (EV_SYN, SYN_DROPPED) {
            // The kernel could not keep up and events are missing: how the key stands is not known.
            self.gone();
        }
        if event.kind != EV_KEY || self.code.is_some_and(|code| code != event.code) {
            return Vec::new();
        }
        let mut acts = Vec::new();
        match (event.value, &mut self.press) {
            (1, press) => {
                acts.extend(settle(press, self.hold, now));
                match press {
                    None => {
                        let since = (now, event.at);
                        *press = Some(Press { code: event.code, since, up: None, spent: false });
                        acts.push(Act::Down);
                    }
                    // It chattered.
                    Some(press) if press.code == event.code => press.up = None,
                    Some(_) => {}
                }
            }
            (0, Some(press)) if press.code == event.code => {
                press.up.get_or_insert((now, event.at));
            }
            _ => {}
        }
        acts
    }

    /// What time alone has brought about. To be asked only when everything the device sent was taken in.
    pub fn tick(&mut self, now: Duration) -> Option<Act> {
        if let Some(act) = settle(&mut self.press, self.hold, now) {
            return Some(act);
        }
        let press = self.press.as_mut().filter(|press| press.up.is_none() && !press.spent)?;
        (now.saturating_sub(press.since.0) >= self.hold).then(|| {
            press.spent = true;
            Act::Long
        })
    }

    /// When [`Self::tick`] has something to say, if ever.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let press = self.press.as_ref()?;
        match press.up {
            Some((at, _)) => Some(at + SETTLE),
            None => (!press.spent).then(|| press.since.0 + self.hold),
        }
    }

    /// The press has had its effect: its end means nothing more.
    pub fn spend(&mut self) {
        if let Some(press) = &mut self.press {
            press.spent = true;
        }
    }

    /// The device was unplugged: whatever was being pressed comes to nothing.
    pub fn gone(&mut self) {
        self.press = None;
    }
}

/// Ends a press whose key has been up for long enough.
fn settle(press: &mut Option<Press>, hold: Duration, now: Duration) -> Option<Act> {
    let is_up = |press: &mut Press| press.up.is_some_and(|(at, _)| now.saturating_sub(at) >= SETTLE);
    let Press { since, up, spent, .. } = press.take_if(is_up)?;
    let (up, stamp) = up?;
    // Long by both clocks: a daemon that was held up reads the end of a short press late, and the stamps are
    // wall time, which jumps.
    let long = up.saturating_sub(since.0) >= hold && stamp.saturating_sub(since.1) >= hold;
    (!spent).then_some(if long { Act::Long } else { Act::Short })
}

/// Names of keys and buttons that are put on a lectern, with the kernel's numbers.
const NAMES: [(&str, u16); 46] = [
    ("KEY_ESC", 1),
    ("KEY_ENTER", 28),
    ("KEY_SPACE", 57),
    ("KEY_B", 48),
    ("KEY_SCROLLLOCK", 70),
    ("KEY_F1", 59),
    ("KEY_F2", 60),
    ("KEY_F3", 61),
    ("KEY_F4", 62),
    ("KEY_F5", 63),
    ("KEY_F6", 64),
    ("KEY_F7", 65),
    ("KEY_F8", 66),
    ("KEY_F9", 67),
    ("KEY_F10", 68),
    ("KEY_F11", 87),
    ("KEY_F12", 88),
    ("KEY_F13", 183),
    ("KEY_F14", 184),
    ("KEY_F15", 185),
    ("KEY_F16", 186),
    ("KEY_F17", 187),
    ("KEY_F18", 188),
    ("KEY_F19", 189),
    ("KEY_F20", 190),
    ("KEY_F21", 191),
    ("KEY_F22", 192),
    ("KEY_F23", 193),
    ("KEY_F24", 194),
    ("KEY_KPENTER", 96),
    ("KEY_HOME", 102),
    ("KEY_PAGEUP", 104),
    ("KEY_PAGEDOWN", 109),
    ("KEY_PAUSE", 119),
    ("KEY_STOP", 128),
    ("KEY_PLAYPAUSE", 164),
    ("KEY_RECORD", 167),
    ("KEY_PLAY", 207),
    ("KEY_CAMERA", 212),
    ("BTN_0", 0x100),
    ("BTN_1", 0x101),
    ("BTN_2", 0x102),
    ("BTN_LEFT", 0x110),
    ("BTN_RIGHT", 0x111),
    ("BTN_MIDDLE", 0x112),
    ("BTN_TRIGGER", 0x120),
];

/// The key of a name: one of the kernel's names, its number, or `any`.
///
/// # Errors
/// A sentence.
pub fn code(name: &str) -> Result<Option<u16>, String> {
    /// The kernel's greatest.
    const KEY_MAX: u16 = 0x2ff;
    if name == "any" {
        return Ok(None);
    }
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code);
    let number = || name.parse().ok().filter(|code| (1..=KEY_MAX).contains(code));
    let fault = || {
        format!(
            "{name:?} is neither \"any\", nor a key such as \"KEY_F9\" or \"BTN_0\", nor a key's number from 1 to {KEY_MAX}"
        )
    };
    named.or_else(number).map(Some).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const F9: u16 = 67;
    const HOLD: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn event(at: u64, code: u16, value: i32) -> InputEvent {
        InputEvent { at: ms(1_000_000 + at), kind: EV_KEY, code, value }
    }

    /// Hears events as they come, with the ticks between; gives what they came to.
    fn story(key: &mut Key, events: &[(u64, i32)], until: u64) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        let mut events = events.iter().peekable();
        for now in 0..=until {
            while let Some((at, value)) = events.next_if(|(at, _)| *at <= now) {
                acts.extend(key.hear(event(*at, F9, *value), ms(now)).into_iter().map(|act| (now, act)));
            }
            acts.extend(key.tick(ms(now)).map(|act| (now, act)));
        }
        acts
    }

    #[test]
    fn an_event_is_read_as_the_kernel_writes_it() {
        let mut bytes = [0; InputEvent::BYTES];
        bytes[..8].copy_from_slice(&7_i64.to_ne_bytes());
        bytes[8..16].copy_from_slice(&250_000_i64.to_ne_bytes());
        bytes[16..18].copy_from_slice(&EV_KEY.to_ne_bytes());
        bytes[18..20].copy_from_slice(&F9.to_ne_bytes());
        bytes[20..].copy_from_slice(&1_i32.to_ne_bytes());
        let read = InputEvent::read(&bytes);
        assert_eq!(read, InputEvent { at: ms(7250), kind: EV_KEY, code: F9, value: 1 });
        assert_eq!(InputEvent::read(&[0xff; InputEvent::BYTES]).at, Duration::ZERO, "before the epoch");
    }

    #[test]
    fn a_short_press_is_short_and_a_long_one_is_long_while_it_is_still_held() {
        let mut key = Key::new(Some(F9), HOLD);
        let short = story(&mut key, &[(10, 1), (310, 0)], 2000);
        assert_eq!(short, [(10, Act::Down), (360, Act::Short)]);
        let mut key = Key::new(None, HOLD);
        // The kernel repeats a key that is held.
        let long = story(&mut key, &[(10, 1), (260, 2), (300, 2), (2000, 0)], 3000);
        assert_eq!(long, [(10, Act::Down), (1010, Act::Long)]);
    }

    #[test]
    fn a_key_that_chatters_is_pressed_once() {
        let mut key = Key::new(Some(F9), HOLD);
        let events = [(10, 1), (12, 0), (13, 1), (15, 0), (19, 1), (200, 0), (203, 1), (207, 0)];
        assert_eq!(story(&mut key, &events, 1000), [(10, Act::Down), (257, Act::Short)]);
        // All of it in one reading, as after a hold-up of this program.
        let mut key = Key::new(Some(F9), HOLD);
        let acts: Vec<_> = events.iter().flat_map(|(at, v)| key.hear(event(*at, F9, *v), ms(5000))).collect();
        assert_eq!(acts, [Act::Down]);
        assert_eq!(key.tick(ms(5050)), Some(Act::Short));
    }

    #[test]
    fn a_press_that_began_a_lesson_does_nothing_more() {
        let mut key = Key::new(Some(F9), HOLD);
        assert_eq!(key.hear(event(0, F9, 1), ms(0)), [Act::Down]);
        key.spend();
        assert_eq!((key.due(), key.tick(ms(5000))), (None, None), "held for five seconds");
        assert_eq!(key.hear(event(6000, F9, 0), ms(6000)), []);
        assert_eq!(key.tick(ms(7000)), None);
        assert_eq!(key.hear(event(8000, F9, 1), ms(8000)), [Act::Down], "the next one counts again");
    }

    #[test]
    fn a_short_press_that_is_read_late_is_no_long_one() {
        // Down was read at once; then this program stood still for two seconds.
        let mut key = Key::new(Some(F9), HOLD);
        key.hear(event(0, F9, 1), ms(0));
        assert_eq!(key.hear(event(200, F9, 0), ms(2000)), []);
        assert_eq!(key.tick(ms(2000)), None);
        assert_eq!(key.tick(ms(2050)), Some(Act::Short));
        // The wall clock was set forward by an hour in the middle of a press.
        let mut key = Key::new(Some(F9), HOLD);
        key.hear(event(0, F9, 1), ms(0));
        key.hear(event(3_600_200, F9, 0), ms(200));
        assert_eq!(key.tick(ms(300)), Some(Act::Short));
    }

    #[test]
    fn what_is_pulled_or_lost_in_the_middle_of_a_press_comes_to_nothing() {
        let mut key = Key::new(Some(F9), HOLD);
        key.hear(event(0, F9, 1), ms(0));
        key.gone();
        assert_eq!((key.due(), key.tick(ms(9000))), (None, None));
        key.hear(event(0, F9, 1), ms(0));
        key.hear(InputEvent { at: ms(10), kind: EV_SYN, code: SYN_DROPPED, value: 0 }, ms(10));
        assert_eq!((key.due(), key.tick(ms(9000))), (None, None));
    }

    #[test]
    fn other_keys_say_nothing() {
        let mut key = Key::new(Some(F9), HOLD);
        assert_eq!(key.hear(event(0, 30, 1), ms(0)), []);
        key.hear(event(0, F9, 1), ms(0));
        assert_eq!(key.hear(event(100, 30, 0), ms(100)), [], "another key's release");
        assert_eq!(key.due(), Some(HOLD));
        let mut any = Key::new(None, HOLD);
        assert_eq!(any.hear(event(0, 0x110, 1), ms(0)), [Act::Down]);
        assert_eq!(any.hear(event(10, 30, 1), ms(10)), [], "two at once are one press");
    }

    #[test]
    fn keys_have_the_kernels_names_or_numbers() {
        assert_eq!(code("any"), Ok(None));
        assert_eq!(code("KEY_F9"), Ok(Some(67)));
        assert_eq!(code("288"), Ok(Some(0x120)));
        for wrong in ["", "F9", "key_f9", "0", "768", "-1"] {
            assert!(code(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        /// Whatever a device sends: every press goes down once and has at most one end.
        #[test]
        fn no_stream_of_events_makes_two_ends_of_one_press(
            events in prop::collection::vec((0..300u64, 0..3u16, 0..3u16, -1..4i32), 0..80)
        ) {
            let mut key = Key::new(None, HOLD);
            let (mut now, mut open) = (0, false);
            for (later, kind, code, value) in events {
                now += later;
                let event = InputEvent { at: ms(now), kind, code, value };
                let mut acts: Vec<_> = key.tick(ms(now)).into_iter().collect();
                acts.extend(key.hear(event, ms(now)));
                for act in acts {
                    match act {
                        Act::Down => open = true,
                        Act::Short | Act::Long => {
                            prop_assert!(open, "an end without a beginning");
                            open = false;
                        }
                    }
                }
            }
        }
    }
}
