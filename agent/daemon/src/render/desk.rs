//! Takes what is asked: checks a wish against lesson, profile and disk, queues, cancels, removes.

use std::path::{Path, PathBuf};

use lectern_base::{clock, disk};
use lectern_wire::id::LessonId;
use lectern_wire::manifest::Manifest;
use lectern_wire::render::{Job, Piece, Rendition, TITLE_MAX_S, Title, length_ms, pieces, video_kbps};
use lectern_wire::sign::Signed;

use super::Settings;
use crate::model::answer::Refusal;
use crate::model::clip::{Wish, file_name};
use crate::model::profile::Profile;
use crate::store::clips::{Clip, ClipState};
use crate::store::{Store, StoreError};

/// Answers people; cheap to clone. Its calls touch the disk: not for the async threads.
#[derive(Clone)]
pub struct Desk {
    /// The store.
    pub store: Store,
    /// What making needs.
    pub settings: Settings,
}

/// Why a wish is not met.
#[derive(Debug)]
pub enum Refused {
    /// No, because.
    No(Refusal),
    /// The store failed.
    Failed(StoreError),
}

impl From<StoreError> for Refused {
    fn from(e: StoreError) -> Self {
        Self::Failed(e)
    }
}

fn no(code: &'static str, sentence: impl Into<String>) -> Refused {
    Refused::No(Refusal { code, sentence: sentence.into() })
}

impl Desk {
    /// Queues a clip; gives its number.
    ///
    /// # Errors
    /// [`Refused`], with a sentence.
    pub fn make(&self, lesson: &LessonId, wish: &Wish) -> Result<i64, Refused> {
        if let Some(fault) = wish.fault() {
            return Err(no("bad_request", fault));
        }
        let profile = profile(&self.settings, wish).map_err(|e| no("profile", e))?;
        if wish.title && !profile.encode.is_some_and(|e| e.title) {
            return Err(no("profile", format!("{} allows no title", profile.name)));
        }
        let row = self
            .store
            .lesson(lesson)?
            .ok_or_else(|| no("unknown", format!("there is no lesson {lesson}")))?;
        let manifest = manifest(&self.store, lesson).map_err(|e| no("not_sealed", e))?;
        let cut = cut(&self.store, &manifest, wish);
        if cut.is_empty() {
            return Err(no("empty", "there is no picture between these times"));
        }
        if let Some(gone) = cut.iter().find(|piece| !Path::new(&piece.take).is_file()) {
            return Err(no(
                "gone",
                format!("{} is no longer on this machine; take it from the hub", gone.take),
            ));
        }
        let most = profile.max_minutes.unwrap_or(u32::MAX);
        let length = length_ms(&cut);
        // A clip may begin up to two seconds early, at a key frame.
        if length > u64::from(most) * 60_000 + 2000 {
            return Err(no("too_long", format!("{} may last {most} minutes at most", profile.name)));
        }
        let needed = estimate(profile, &cut, length).ok_or_else(|| {
            no("too_long", format!("so long a stretch does not fit into the size of {}", profile.name))
        })?;
        let folder = self.store.clips_folder();
        let free = disk::free_bytes(self.store.folder()).map_err(crate::store::at(self.store.folder()))?;
        if free < needed + self.settings.reserve_bytes {
            let mib = (needed + self.settings.reserve_bytes - free) >> 20;
            return Err(no(
                "no_space",
                format!("{mib} MiB more must be free: space for lessons comes first"),
            ));
        }
        let day = clock::local(row.started_wall_ms).strftime("%Y%m%d").to_string();
        let taken: Vec<String> = self.store.clips()?.into_iter().map(|c| c.name).collect();
        let name = (1..)
            .map(|n| match n {
                1 => profile.name.clone(),
                n => format!("{}-{n}", profile.name),
            })
            .map(|other| file_name(&self.settings.school, &row.about, &day, &other))
            .find(|name| !taken.contains(name) && !folder.join(name).exists())
            .unwrap_or_default();
        let id = self.store.add_clip(lesson, wish, &name, clock::wall_ms())?;
        self.store.bells().render.notify_one();
        Ok(id)
    }

    /// Ends a clip that waits or is being made.
    ///
    /// # Errors
    /// [`Refused`], with a sentence.
    pub fn cancel(&self, id: i64) -> Result<(), Refused> {
        let row = self.row(id)?;
        if !self.store.end_clip(id, ClipState::Cancelled, None, None)? && row.state != ClipState::Cancelled {
            return Err(no("ended", format!("clip {id} is {} already", row.state.name())));
        }
        self.store.bells().render.notify_one();
        Ok(())
    }

    /// Removes a clip and its file.
    ///
    /// # Errors
    /// [`Refused`], with a sentence.
    pub fn remove(&self, id: i64) -> Result<(), Refused> {
        let row = self.row(id)?;
        if row.state == ClipState::Waiting {
            return Err(no("waiting", format!("clip {id} is being made; cancel it first")));
        }
        if row.state == ClipState::Done {
            let path = self.store.clips_folder().join(&row.name);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(crate::store::at(&path)(e).into());
                }
                _ => {}
            }
        }
        Ok(self.store.forget_clip(id)?)
    }

    /// The file of a finished clip.
    ///
    /// # Errors
    /// [`Refused`], with a sentence.
    pub fn file(&self, id: i64) -> Result<(PathBuf, Clip), Refused> {
        let row = self.row(id)?;
        if row.state != ClipState::Done {
            return Err(no("not_ready", format!("clip {id} is {}", row.state.name())));
        }
        Ok((self.store.clips_folder().join(&row.name), row))
    }

    fn row(&self, id: i64) -> Result<Clip, Refused> {
        self.store.clip(id)?.ok_or_else(|| no("unknown", format!("there is no clip {id}")))
    }
}

fn profile<'s>(settings: &'s Settings, wish: &Wish) -> Result<&'s Profile, String> {
    settings.profiles.iter().find(|p| p.id == wish.profile).ok_or_else(|| {
        let known: Vec<_> = settings.profiles.iter().map(|p| p.id.as_str()).collect();
        format!("there is no profile {:?}; there are: {}", wish.profile, known.join(", "))
    })
}

fn manifest(store: &Store, lesson: &LessonId) -> Result<Manifest, String> {
    let path = store.lesson_folder(lesson).join("manifest.json");
    let bytes = std::fs::read(&path).map_err(|_| format!("lesson {lesson} is not finished yet"))?;
    let signed: Signed<Manifest> =
        serde_json::from_slice(&bytes).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    Ok(signed.document.into_understood())
}

fn cut(store: &Store, manifest: &Manifest, wish: &Wish) -> Vec<Piece> {
    let folder = store.lesson_folder(&manifest.lesson_id);
    pieces(&manifest.takes, wish.from_ms, wish.to_ms.unwrap_or(u64::MAX), |take| {
        folder.join(&take.file).to_string_lossy().into_owned()
    })
}

/// Bytes the file will have at most; nothing when the profile's size leaves no picture.
fn estimate(profile: &Profile, cut: &[Piece], length_ms: u64) -> Option<u64> {
    let Some(encode) = profile.encode else { return Some(cut.iter().map(|p| p.init + p.to - p.from).sum()) };
    let kbps = video_kbps(length_ms, encode.kbps, encode.sound_kbps, max_bytes(profile))?;
    Some(u64::from(kbps + encode.sound_kbps) * length_ms / 8 * 11 / 10)
}

fn max_bytes(profile: &Profile) -> Option<u64> {
    profile.max_mib.map(|mib| u64::from(mib) << 20)
}

/// The recorder's job for a clip.
pub fn job(store: &Store, settings: &Settings, clip: &Clip) -> Result<Job, String> {
    let profile = profile(settings, &clip.wish)?;
    let lesson = store.lesson(&clip.lesson).map_err(|e| e.to_string())?;
    let about = lesson.ok_or_else(|| format!("there is no lesson {}", clip.lesson))?.about;
    let manifest = manifest(store, &clip.lesson)?;
    let title = clip.wish.title.then(|| Title {
        seconds: TITLE_MAX_S,
        lines: clip.wish.title_lines(&about, &settings.school),
        heading: about.topic,
    });
    let rendition = profile.encode.map(|encode| Rendition {
        width: encode.width,
        height: encode.height,
        fps: manifest.capture.video.fps,
        kbps: encode.kbps,
        sound_kbps: encode.sound_kbps,
        max_bytes: max_bytes(profile),
        title,
    });
    let out = store.clips_folder().join(&clip.name).to_string_lossy().into_owned();
    Ok(Job { pieces: cut(store, &manifest, &clip.wish), rendition, out })
}
