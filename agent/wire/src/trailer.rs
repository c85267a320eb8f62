//! What stands behind the media of a lesson's standard MP4, so that the file proves itself.
//!
//! A box of kind `uuid` (ISO/IEC 14496-12, section 11.1), which players pass over. Its name is the 16 bytes of
//! [`NAME`]; its payload is a row of sections, each `name length (1 byte) · name · length (8 bytes, big end first) ·
//! bytes`. The last is [`SUM`], the SHA-256 of the payload before it, so that no damage goes unnoticed. It proves
//! nothing against a forger: what the sections say is checked by itself.
//!
//! | section | holds |
//! |---|---|
//! | `manifest.json` `receipt.json` `heads.jsonl` `keys.json` | the documents as they stand beside a lesson |
//! | `commitment.json` | instead of them, in a file that must not name anybody |
//! | `take-1`, `take-2`, … | what [`crate::joined`] left out of the take |

use crate::boxes::{be32, be64};
use crate::digest::Digest;

/// The box's own name.
pub const NAME: &[u8; 16] = b"lectern-proof-v1";
/// Bytes of the box before its payload.
pub const HEADER: usize = 8 + NAME.len();
/// Largest box that is read, bytes. That of 45 minutes has about 3 MB.
pub const LARGEST: u64 = 256 << 20;
/// The last section.
pub const SUM: &str = "sha256";

/// Why bytes are not a trailer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the proof behind the media {0}")]
pub struct BadTrailer(&'static str);

/// A section's name and bytes.
pub type Section<'a> = (String, &'a [u8]);

/// Makes the whole box.
///
/// # Errors
/// [`BadTrailer`] when it would be longer than is read back.
pub fn write(sections: &[(&str, &[u8])]) -> Result<Vec<u8>, BadTrailer> {
    let mut payload = Vec::new();
    for (name, bytes) in sections {
        section(&mut payload, name, bytes)?;
    }
    let sum = Digest::of(&payload);
    section(&mut payload, SUM, sum.bytes())?;
    let size = payload.len() + HEADER;
    let size = u32::try_from(size).ok().filter(|size| u64::from(*size) <= LARGEST);
    let size = size.ok_or(BadTrailer("would be too long"))?;
    Ok([size.to_be_bytes().as_slice(), b"uuid", NAME, &payload].concat())
}

fn section(payload: &mut Vec<u8>, name: &str, bytes: &[u8]) -> Result<(), BadTrailer> {
    payload.push(u8::try_from(name.len()).map_err(|_| BadTrailer("has a name that is too long"))?);
    payload.extend_from_slice(name.as_bytes());
    payload.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    payload.extend_from_slice(bytes);
    Ok(())
}

/// Whether a box that begins like this is a trailer; if so its length in all.
#[must_use]
pub fn length(header: &[u8]) -> Option<u64> {
    let ours = header.get(4..8)? == b"uuid" && header.get(8..HEADER)? == NAME;
    be32(header, 0).filter(|_| ours).map(u64::from)
}

/// Reads the payload: all sections but the last.
///
/// # Errors
/// [`BadTrailer`] says what does not fit.
pub fn read(payload: &[u8]) -> Result<Vec<Section<'_>>, BadTrailer> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut rest = payload;
    let cut = BadTrailer("is cut off");
    while let Some((length, after)) = rest.split_first() {
        let (name, after) = after.split_at_checked(usize::from(*length)).ok_or(cut.clone())?;
        let size = be64(after, 0).and_then(|size| usize::try_from(size).ok()).ok_or(cut.clone())?;
        let (bytes, after) = after[8..].split_at_checked(size).ok_or(cut.clone())?;
        let name = String::from_utf8(name.to_vec()).map_err(|_| BadTrailer("has a name that is no text"))?;
        if name == SUM {
            let before = payload.len() - rest.len();
            let fits = after.is_empty() && bytes == Digest::of(&payload[..before]).bytes();
            return if fits { Ok(sections) } else { Err(BadTrailer("is damaged")) };
        }
        if sections.iter().any(|(known, _)| *known == name) {
            return Err(BadTrailer("holds the same section twice"));
        }
        sections.push((name, bytes));
        rest = after;
    }
    Err(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_every_flipped_bit_is_noticed() {
        let written = write(&[("manifest.json", b"{}"), ("take-1", &[7; 300])]).expect("fits");
        assert_eq!(length(&written), Some(written.len() as u64));
        let read_back = read(&written[HEADER..]).expect("reads");
        assert_eq!(read_back, [("manifest.json".to_owned(), b"{}".as_slice()), ("take-1".into(), &[7; 300])]);
        for at in HEADER..written.len() {
            for bit in 0..8 {
                let mut bad = written[HEADER..].to_vec();
                bad[at - HEADER] ^= 1 << bit;
                assert!(read(&bad).is_err(), "bit {bit} of byte {at}");
            }
            assert!(read(&written[HEADER..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_box_is_not_taken_for_it() {
        assert_eq!(length(b"\0\0\0\x20uuidsomebody-elses-1"), None);
        assert_eq!(length(b"\0\0\0\x20free"), None);
        assert_eq!(length(b""), None);
    }
}
