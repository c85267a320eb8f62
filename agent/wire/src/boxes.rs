//! Boxes of ISO/IEC 14496-12, as far as takes need them.

/// A number at an offset, big end first.
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes)
}

/// As [`be32`], eight bytes.
pub fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)
}

/// The child boxes of a box's payload, as (kind, payload). Ends at the first impossible length.
pub fn children(payload: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let size = usize::try_from(be32(rest, 0)?).ok()?;
        let kind = rest.get(4..8)?;
        let body = rest.get(8..size)?;
        rest = rest.get(size..)?;
        Some((kind, body))
    })
}

/// The first child box of a kind.
pub fn child<'a>(payload: &'a [u8], kind: &[u8]) -> Option<&'a [u8]> {
    children(payload).find(|(k, _)| *k == kind).map(|(_, body)| body)
}
