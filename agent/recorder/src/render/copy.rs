//! A clip: the packets as they were recorded, with the tables of a file that can be sought in.

use anyhow::ensure;
use lectern_wire::render::{Piece, length_ms};

use super::control::Control;
use super::file::{PICTURE, Target, Track, Writer};
use super::joined::Joined;
use crate::av;

/// Copies the pieces into the target.
pub fn run(pieces: &[Piece], target: &Target, control: &Control) -> anyhow::Result<()> {
    let of_ms = length_ms(pieces);
    let mut joined = Joined::open(pieces)?;
    let [picture, sound] = joined.parameters();
    let sound_base = joined.sound_base();
    let mut writer = Writer::new(target, picture.clone(), sound.clone(), sound_base)?;
    let mut piece = 0;
    while let Some((track, packet)) = joined.read()? {
        if joined.piece() != piece {
            piece = joined.piece();
            let [other_picture, other_sound] = joined.parameters();
            ensure!(
                av::same(&picture, &other_picture) && av::same(&sound, &other_sound),
                "the takes of this lesson were encoded in different ways and cannot be joined as they are; \
                 choose a profile that is encoded anew"
            );
        }
        if track == Track::Picture {
            let done = packet.pts().unwrap_or(0).max(0) / i64::from(PICTURE.1 / 1000);
            control.progress(done.unsigned_abs(), of_ms)?;
        }
        let base = if track == Track::Picture { PICTURE } else { sound_base };
        writer.write(track, packet, base)?;
    }
    control.check()?;
    writer.end()
}
