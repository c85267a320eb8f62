//! A lesson without names, for contests that forbid them: the commitment.
//!
//! A manifest names the school, the room, the device and the teacher, so it is left out. In its place stands what a
//! jury needs to check the video, taken from it by a fixed rule, and the manifest's hash. Whoever later shows the
//! manifest proves whose lesson it is: it is signed, has this hash, and this same commitment follows from it.
//! The hash gives nothing away before: a manifest holds its boot's and its lesson's id, which nobody can guess.
//!
//! The commitment is not signed. A signature's key belongs to one device or one hub, so it would name the school to
//! everybody who has seen another lesson of it; and until the manifest is shown, it would add nothing: who does not
//! know whose key it is, cannot know that it is not a forger's. Binding it is by the hash.

use lectern_wire::digest::Digest;
use lectern_wire::manifest::{Manifest, Take, TakeEnd};
use lectern_wire::sign::{BadDocument, Kept};
use serde::{Deserialize, Serialize};

/// Its file and section.
pub const FILE: &str = "commitment.json";

/// What stands for the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// Always 1.
    pub v: u32,
    /// Hash of the manifest.
    pub manifest_sha256: Digest,
    /// The takes, without names, words and wall times.
    pub takes: Vec<Take>,
}

impl Commitment {
    /// The one that follows from a manifest.
    ///
    /// # Errors
    /// When the manifest has no canonical form.
    pub fn of(manifest: &Kept<Manifest>) -> Result<Self, BadDocument> {
        let takes = manifest.takes.iter().map(blind).collect();
        Ok(Self { v: 1, manifest_sha256: manifest.digest()?, takes })
    }

    /// Whether it follows from this manifest.
    #[must_use]
    pub fn is_of(&self, manifest: &Kept<Manifest>) -> bool {
        Self::of(manifest).is_ok_and(|own| own == *self)
    }
}

/// A take without what may name somebody: sources and marks are named by people, causes quote them, and a wall time
/// or a boot tells which lesson it is.
fn blind(take: &Take) -> Take {
    let mut take = take.clone();
    take.started_wall_ms = 0;
    take.started_mono_ms = 0;
    take.boot_id.clear();
    if let TakeEnd::Interrupted(why) = &mut take.end {
        why.clear();
    }
    take.pauses.iter_mut().for_each(|pause| pause.wall_ms = 0);
    for gap in &mut take.gaps {
        gap.source.clear();
        gap.cause.clear();
    }
    take.marks.clear();
    take.live.clear();
    take
}
