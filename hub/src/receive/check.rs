//! Checks a stored lesson again, from its bytes: what 「核验」 in the console does.

use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::manifest::{Manifest, Take, clock_text};
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::{Kept, KeyRing, Signed};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store::objects::{Objects, Place};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Parts that were read.
    pub parts: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is not as it should be; empty when all is well.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Fault {
    /// Bytes of a part are not those that were recorded.
    Part {
        /// Take number.
        take: u32,
        /// Part number.
        n: u32,
        /// The time it concerns, as `12:31`.
        from: String,
        /// To here.
        to: String,
        /// Whether the bytes are missing rather than changed.
        missing: bool,
    },
    /// The take's bytes add up to something else although no part does.
    Take {
        /// Take number.
        take: u32,
    },
    /// The manifest cannot be read, or is not what the device signed.
    Manifest {
        /// Why, in a sentence.
        why: String,
    },
    /// The receipt cannot be read, is not what the hub signed, or is of another manifest.
    Receipt {
        /// Why, in a sentence.
        why: String,
    },
}

/// What a check goes by.
#[derive(Debug, Clone)]
pub struct Known {
    /// The keys its device ever had.
    pub device: KeyRing,
    /// The hub's own keys.
    pub hub: KeyRing,
    /// The digest the log keeps before this receipt, when there is one.
    pub log_prev: Option<Digest>,
    /// The receipt as the log keeps it.
    pub receipt: Option<Signed<Receipt>>,
}

/// Reads everything again.
#[must_use]
pub fn run(objects: &Objects, place: &Place, known: &Known) -> Report {
    let mut report = Report { parts: 0, bytes: 0, faults: Vec::new() };
    let folder = objects.folder(place);
    let (manifest, fault) = read_manifest(&folder, &known.device);
    report.faults.extend(fault.map(|why| Fault::Manifest { why }));
    if let Err(why) = check_receipt(&folder, known, manifest.as_ref()) {
        report.faults.push(Fault::Receipt { why });
    }
    for take in manifest.iter().flat_map(|m| &m.takes) {
        check_take(objects, place, take, &mut report);
    }
    report
}

/// The manifest and what is wrong with it; when only its signature is wrong it comes all the same.
fn read_manifest(folder: &std::path::Path, ring: &KeyRing) -> (Option<Kept<Manifest>>, Option<String>) {
    let bytes = match std::fs::read(folder.join("manifest.json")) {
        Ok(bytes) => bytes,
        Err(e) => return (None, Some(format!("manifest.json: {e}"))),
    };
    let signed: Signed<Manifest> = match serde_json::from_slice(&bytes) {
        Ok(signed) => signed,
        Err(e) => return (None, Some(format!("manifest.json: {e}"))),
    };
    let fault = signed.verify(ring).err().map(|e| e.to_string());
    (Some(signed.document), fault)
}

fn check_receipt(
    folder: &std::path::Path,
    known: &Known,
    manifest: Option<&Kept<Manifest>>,
) -> Result<(), String> {
    let bytes = std::fs::read(folder.join("receipt.json")).map_err(|e| format!("receipt.json: {e}"))?;
    let signed: Signed<Receipt> = serde_json::from_slice(&bytes).map_err(|e| format!("receipt.json: {e}"))?;
    let receipt = signed.verify(&known.hub).map_err(|e| e.to_string())?;
    if receipt.log.is_some() {
        lectern_wire::log::check_place(receipt, &known.hub).map_err(|e| e.to_string())?;
    }
    if known.receipt.as_ref() != Some(&signed) {
        return Err("the receipt beside the lesson is not the one in the hub's log".into());
    }
    if receipt.log_prev != known.log_prev {
        return Err("the hub's log does not continue from the receipt before this one".into());
    }
    let digest = manifest.and_then(|m| m.digest().ok());
    if digest != Some(receipt.manifest_sha256) {
        return Err("the receipt was written for another manifest".into());
    }
    Ok(())
}

fn check_take(objects: &Objects, place: &Place, take: &Take, report: &mut Report) {
    let source = objects.source(place, take.n);
    let mut whole = Sha256::new();
    let mut sound = true;
    for part in &take.parts {
        let read = source.as_ref().map_err(ToString::to_string);
        let read = read.and_then(|s| s.read_part_now(part.n, part.size).map_err(|e| e.to_string()));
        report.parts += 1;
        if let Ok(bytes) = &read {
            report.bytes += part.size;
            whole.update(bytes);
        }
        if !read.as_ref().is_ok_and(|bytes| Digest::of(bytes) == part.sha256) {
            sound = false;
            let (from, to) = take.span_of(u64::from(part.n) * PART_SIZE, part.size);
            report.faults.push(Fault::Part {
                take: take.n,
                n: part.n,
                from: clock_text(from),
                to: clock_text(to),
                missing: read.is_err(),
            });
        }
    }
    let length = source.and_then(|source| source.size_now()).unwrap_or(0);
    if sound && (Digest::finish(whole) != take.sha256 || length != take.size) {
        report.faults.push(Fault::Take { take: take.n });
    }
}
