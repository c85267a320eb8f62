//! Holds the chain heads that a device gave out while it recorded against the bytes that came afterwards.
//!
//! Each part is looked at when it is read back, with the bytes at hand ([`look`]); what is still open when the
//! lesson is sealed is looked at then ([`settle`]). A head that bytes contradict means that they were changed
//! after it was given out: the lesson gets no receipt, and the finding stays.

use lectern_base::clock;
use lectern_wire::PART_SIZE;
use lectern_wire::chain::{ChainHead, Standing, Witness};
use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId};
use lectern_wire::manifest::{Manifest, Part, Take, clock_text};

use super::problem::Problem;
use crate::store::heads::{self, Head};
use crate::store::lessons::StoredPart;
use crate::store::{Store, StoreError, device_keys, findings, lessons};

/// What a finding of this kind is called.
pub const CONTRADICTS: &str = "contradicts_head";

/// Looks at the heads that end in a part that was just read back. Parts before it are read back already.
///
/// # Errors
/// What the database says.
pub fn look(
    store: &Store,
    lesson: &LessonId,
    device: &DeviceId,
    take: u32,
    part: &StoredPart,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let this = Part { n: part.n, size: part.size, sha256: part.sha256 };
    let open = store.read_now(|db| heads::open_in(db, lesson, device, take, &this))?;
    if open.is_empty() {
        return Ok(());
    }
    let (parts, ring) =
        store.read_now(|db| Ok((lessons::parts(db, lesson)?, device_keys::live(db, device)?)))?;
    let parts: Vec<Part> = parts
        .iter()
        .filter(|p| p.take == take && p.n <= part.n)
        .map(|p| Part { n: p.n, size: p.size, sha256: p.sha256 })
        .collect();
    for head in open.iter().filter(|head| head.signed.verify(&ring).is_ok()) {
        let said = &head.signed.document;
        let agrees = match said.standing(&parts, None) {
            Standing::Ask { length, .. } => agrees_with(said, &parts, bytes, length),
            // It may speak for more than the device has sent of this part's take: that is not decided here.
            Standing::Contradicts if said.bytes > u64::from(part.n) * PART_SIZE + part.size => continue,
            standing => standing == Standing::Agrees,
        };
        settle_one(store, head, agrees, None)?;
    }
    Ok(())
}

fn agrees_with(said: &ChainHead, parts: &[Part], bytes: &[u8], length: u64) -> bool {
    let first = usize::try_from(length).ok().and_then(|n| bytes.get(..n));
    first.is_some_and(|first| said.standing(parts, Some(&Digest::of(first))) == Standing::Agrees)
}

/// Keeps how a head stands, and what it means when the bytes contradict it.
fn settle_one(store: &Store, head: &Head, agrees: bool, take: Option<&Take>) -> Result<(), StoreError> {
    store.write_now(|db| {
        heads::set_agrees(db, head.n, agrees)?;
        if !agrees {
            let sentence = sentence(&head.signed.document, take);
            findings::add(
                db,
                head.signed.document.lesson_id.as_str(),
                CONTRADICTS,
                &sentence,
                clock::wall_ms(),
            )?;
        }
        Ok(())
    })
}

fn sentence(said: &ChainHead, take: Option<&Take>) -> String {
    let until = take.map_or_else(String::new, |take| {
        format!(" (up to {})", clock_text(take.span_of(said.bytes.saturating_sub(1), 1).1))
    });
    format!(
        "the first {} bytes of take {}{until} are not those the device signed while it recorded them",
        said.bytes, said.take
    )
}

/// Holds all heads of a lesson that is being sealed against its manifest. Answers the text of `heads.jsonl` and
/// what the receipt says of it; none when no head came. `read` gives a part's stored bytes.
///
/// # Errors
/// [`Problem`] `contradicts_head` when one does not fit.
pub fn settle(
    store: &Store,
    device: &DeviceId,
    manifest: &Manifest,
    read: impl Fn(u32, &Part) -> std::io::Result<Vec<u8>>,
) -> Result<Option<(String, Witness)>, Problem> {
    let lesson = &manifest.lesson_id;
    let (all, ring) =
        store.read_now(|db| Ok((heads::of(db, lesson, device)?, device_keys::live(db, device)?)))?;
    let all: Vec<Head> = all.into_iter().filter(|head| head.signed.verify(&ring).is_ok()).collect();
    let mut at_hand: Option<((u32, u32), Vec<u8>)> = None;
    for head in &all {
        let said = &head.signed.document;
        let take = manifest.takes.iter().find(|take| take.n == said.take);
        let agrees = match (head.agrees, take) {
            (Some(agrees), _) => agrees,
            (None, None) => false,
            (None, Some(take)) => match said.standing(&take.parts, None) {
                Standing::Ask { part, length } => {
                    let which = (take.n, part);
                    let found = take.parts.iter().find(|p| p.n == part);
                    if at_hand.as_ref().is_none_or(|(held, _)| *held != which)
                        && let Some(found) = found
                    {
                        let bytes = read(take.n, found)
                            .map_err(StoreError::io("reading a part for its chain heads"))?;
                        at_hand = Some((which, bytes));
                    }
                    at_hand.as_ref().is_some_and(|(_, bytes)| agrees_with(said, &take.parts, bytes, length))
                }
                standing => standing == Standing::Agrees,
            },
        };
        if head.agrees.is_none() {
            settle_one(store, head, agrees, take)?;
        }
        if !agrees {
            let what = sentence(said, take);
            return Err(Problem::unsound(
                CONTRADICTS,
                format!(
                    "{what}; no receipt is given, keep the machine as it is and run `lectern verify` there"
                ),
            ));
        }
    }
    heads::witness(&all).map_err(|e| Problem::unsound("bad_manifest", format!("heads.jsonl: {e}")))
}
