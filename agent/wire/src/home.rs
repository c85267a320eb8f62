//! A device's state volume: what the hub remembers of it, so that one that is restored is noticed.
//!
//! `POST /api/v1/home` — [`Home`] → [`Remembered`]. Safe to repeat. A volume that is taken back to an earlier
//! state cannot know it; the hub counts beside it.

use serde::{Deserialize, Serialize};

use crate::id::LessonId;

/// The volume as it stands in this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Chosen when the state folder was made.
    pub volume: String,
    /// Boots the folder has seen, this one included.
    pub boots: u64,
    /// The kernel's id of this boot.
    pub boot_id: String,
}

/// What the hub remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// See [`Verdict`].
    pub verdict: Verdict,
    /// The newest lesson that this volume announced; absent when it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_lesson: Option<LessonId>,
}

/// What the hub makes of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It goes on from where it was, or is seen for the first time.
    Kept,
    /// This count of boots was there before in another boot: it was taken back.
    BootsAgain,
    /// It was new in the last boot and is new again: it is wiped.
    NewAgain,
}

/// Judges a volume by what was remembered before. Pure, so that both sides and tests share it.
#[must_use]
pub fn judge(before: Option<(&Home, Verdict)>, now: &Home) -> Verdict {
    let Some((before, verdict)) = before else { return Verdict::Kept };
    let same_boot = before.boot_id == now.boot_id;
    if before.volume != now.volume {
        // In one boot a technician may move it; a volume that lived for one boot only was wiped.
        return if before.boots <= 1 && !same_boot { Verdict::NewAgain } else { Verdict::Kept };
    }
    match now.boots.cmp(&before.boots) {
        std::cmp::Ordering::Greater => Verdict::Kept,
        // Asked again in one boot, the answer stands.
        std::cmp::Ordering::Equal if same_boot => verdict,
        _ => Verdict::BootsAgain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(volume: &str, boots: u64, boot_id: &str) -> Home {
        Home { volume: volume.into(), boots, boot_id: boot_id.into() }
    }

    fn verdicts(of: &[Home]) -> Vec<Verdict> {
        let mut before: Option<(Home, Verdict)> = None;
        let mut said = Vec::new();
        for now in of {
            let verdict = judge(before.as_ref().map(|(home, verdict)| (home, *verdict)), now);
            before = Some((now.clone(), verdict));
            said.push(verdict);
        }
        said
    }

    #[test]
    fn an_honest_volume_is_never_suspected() {
        use Verdict::Kept;
        let days = [
            home("a", 1, "x"),
            home("a", 1, "x"),
            home("a", 2, "y"),
            home("a", 5, "z"),
            home("b", 1, "q"),
            home("b", 2, "r"),
        ];
        assert_eq!(verdicts(&days), [Kept; 6]);
    }

    #[test]
    fn a_volume_that_is_restored_at_each_boot_is_found_out_in_the_second_and_asking_again_helps_nothing() {
        use Verdict::{BootsAgain, Kept};
        let days =
            [home("a", 4, "x"), home("a", 4, "y"), home("a", 4, "y"), home("a", 4, "z"), home("a", 3, "q")];
        assert_eq!(verdicts(&days), [Kept, BootsAgain, BootsAgain, BootsAgain, BootsAgain]);
        // The restore is switched off: the next boot counts on.
        assert_eq!(verdicts(&[home("a", 4, "x"), home("a", 4, "y"), home("a", 5, "z")])[2], Kept);
    }

    #[test]
    fn a_volume_that_is_wiped_at_each_boot_is_found_out_and_one_that_was_moved_within_a_boot_is_not() {
        use Verdict::{Kept, NewAgain};
        let days = [home("a", 1, "x"), home("b", 1, "y"), home("c", 1, "y"), home("c", 2, "z")];
        assert_eq!(verdicts(&days), [Kept, NewAgain, Kept, Kept]);
    }
}
