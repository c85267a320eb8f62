//! Chance, from the kernel.

/// Random bytes.
///
/// # Panics
/// When the kernel has no random source; nothing safe can be made then.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    #[expect(
        clippy::disallowed_methods,
        clippy::expect_used,
        reason = "the one place chance is drawn; without it no key may be made"
    )]
    getrandom::fill(&mut out).expect("the kernel has no random source");
    out
}

/// Random text of `2 * N` hexadecimal digits.
#[must_use]
pub fn hex<const N: usize>() -> String {
    bytes::<N>().iter().fold(String::new(), |mut text, b| {
        text.push(char::from_digit(u32::from(b >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(b & 15), 16).unwrap_or('0'));
        text
    })
}

/// A number in `0..bound`, for jitter; 0 when `bound` is 0.
#[must_use]
pub fn below(bound: u64) -> u64 {
    u64::from_le_bytes(bytes()).checked_rem(bound).unwrap_or(0)
}
