//! What a device signed while it recorded, held against the manifest and the bytes (see `lectern_wire::chain`).

use lectern_wire::PART_SIZE;
use lectern_wire::chain::{ChainHead, HeadLine, Standing, Witness};
use lectern_wire::digest::Digest;
use lectern_wire::manifest::{Manifest, Take};
use lectern_wire::sign::{BadDocument, KeyRing};

use crate::check::OpenTake;
use crate::report::{Fault, Paper};
use crate::takes::Reader;

/// Reads `heads.jsonl`; heads whose signature or lesson does not fit become faults, the others are given.
pub fn read(
    lines: &[u8],
    manifest: &Manifest,
    witness: Option<Witness>,
    ring: &KeyRing,
    faults: &mut Vec<Fault>,
) -> Vec<ChainHead> {
    let mut heads = Vec::new();
    let mut arrived = false;
    for (n, line) in lines.split(|c| *c == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let unreadable = |why: String| Fault::Unreadable { what: format!("heads.jsonl line {}", n + 1), why };
        let line: HeadLine = match serde_json::from_slice(line) {
            Ok(line) => line,
            Err(e) => {
                faults.push(unreadable(e.to_string()));
                continue;
            }
        };
        arrived |= line.arrived_ms.is_some();
        match line.head.verify(ring) {
            Ok(head) if (&head.lesson_id, &head.device) == (&manifest.lesson_id, &manifest.device) => {
                heads.push((**head).clone());
            }
            Ok(_) => faults.push(unreadable("it is of another lesson".into())),
            Err(BadDocument::KeyUnknown(key)) => faults.push(Fault::KeyUnknown { paper: Paper::Head, key }),
            Err(e) => faults.push(Fault::Signature { paper: Paper::Head, why: e.to_string() }),
        }
    }
    // The hub's own list is the one its receipt names; a device keeps another, of the same heads.
    if let Some(witness) = witness.filter(|_| arrived)
        && witness.sha256 != Digest::of(lines)
    {
        faults.push(Fault::Signature {
            paper: Paper::Head,
            why: "heads.jsonl is not the list that the receipt names".into(),
        });
    }
    for head in heads.iter().filter(|head| !manifest.takes.iter().any(|take| take.n == head.take)) {
        faults.push(Fault::Chain { take: head.take, why: "the manifest does not name it".into() });
    }
    heads
}

/// Holds a take against its heads. With a span only those that need no bytes outside of what is read anyway: none.
pub fn check(
    take: &Take,
    heads: &[ChainHead],
    open: &OpenTake,
    span: Option<(u64, u64)>,
    faults: &mut Vec<Fault>,
) {
    for head in heads.iter().filter(|head| head.take == take.n) {
        let standing = match head.standing(&take.parts, None) {
            Standing::Ask { .. } if span.is_some() => continue,
            Standing::Ask { part, length } => {
                let bytes = open(take.n).and_then(|bytes| {
                    Reader::default().hash(bytes.as_ref(), u64::from(part) * PART_SIZE, length)
                });
                match bytes {
                    Ok(Some(digest)) => head.standing(&take.parts, Some(&digest)),
                    // That they are missing is told of elsewhere.
                    Ok(None) | Err(_) => continue,
                }
            }
            known => known,
        };
        if standing != Standing::Agrees {
            let why = format!("its first {} bytes were others while it was recorded", head.bytes);
            faults.push(Fault::Chain { take: take.n, why });
            // One is enough: all later ones speak of the same bytes.
            return;
        }
    }
}
