//! What people add to a lesson once it was recorded, and 报修.
//!
//! Each answers a press: done, already so, no because. What concerns the evidence is signed by the
//! device and goes to the hub as an event (see [`lectern_wire::afterwards`]); the manifest never changes.
//! An event is kept first and the row written then: a crash in between repeats a word, it never loses one.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use lectern_base::{clock, disk};
use lectern_wire::afterwards::{Amendment, REPAIR_MAX_CHARS, Repair, Submission};
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::manifest::About;
use lectern_wire::sign::Signed;
use serde::Serialize;

use crate::model::answer::{Answer, no};
use crate::model::lesson::State;
use crate::model::scheme::Scheme;
use crate::store::clips::ClipState;
use crate::store::lessons::Lesson;
use crate::store::{Store, StoreError, at};

/// How long after its start a lesson can be thrown away.
const REGRET_MS: i64 = 24 * 3600 * 1000;

/// Takes people's words; cheap to clone. Its calls touch the disk: not for the async threads.
#[derive(Clone)]
pub struct Desk {
    /// The store.
    pub store: Store,
    /// The device's key.
    pub key: SigningKey,
    /// What a lesson can be put forward for.
    pub schemes: Arc<[Scheme]>,
}

impl Desk {
    /// 补充课题: says something else of a sealed lesson.
    pub fn amend(&self, id: &LessonId, about: &About) -> Answer {
        if let Some(fault) = about.fault() {
            return no("about", fault);
        }
        self.sealed(id, |lesson, manifest_sha256| {
            if lesson.about == *about {
                return Ok(Answer::Already(Some(id.clone())));
            }
            let (lesson_id, about) = (id.clone(), about.clone());
            let amendment = Amendment {
                v: 1,
                lesson_id,
                manifest_sha256,
                about: about.clone(),
                wall_ms: clock::wall_ms(),
            };
            self.tell("amended", &self.signed(amendment)?)?;
            self.store.amend(id, &about)?;
            self.show(id, |shown| shown.about = about);
            Ok(Answer::Done(Some(id.clone())))
        })
    }

    /// 提交认证: puts a stored lesson forward for a point of a scheme.
    pub fn submit(&self, id: &LessonId, scheme: &str, point: &str) -> Answer {
        let Some(found) = self.schemes.iter().find(|s| s.id == scheme) else {
            return no("scheme", format!("there is no scheme {scheme:?}"));
        };
        if !found.takes(point) {
            return no("scheme", format!("{} has no point {point:?}", found.name));
        }
        let what = format!("{} {point}", found.name).trim_end().to_owned();
        self.sealed(id, |lesson, manifest_sha256| {
            if !matches!(lesson.state, State::Stored | State::Reclaimed) {
                return Ok(no("not_stored", "only a lesson the hub has can be put forward; wait for 已存入"));
            }
            if lesson.submitted.as_ref() == Some(&what) {
                return Ok(Answer::Already(Some(id.clone())));
            }
            let (scheme, point) = (scheme.to_owned(), point.to_owned());
            let submission = Submission {
                v: 1,
                lesson_id: id.clone(),
                manifest_sha256,
                scheme,
                point,
                wall_ms: clock::wall_ms(),
            };
            self.tell("submitted", &self.signed(submission)?)?;
            self.store.submit(id, &what)?;
            self.show(id, |shown| shown.submitted = Some(what.clone()));
            Ok(Answer::Done(Some(id.clone())))
        })
    }

    /// 删除这节: throws a lesson away with its clips, here at once and at the hub as soon as it can be reached. The
    /// row keeps the manifest's hash.
    pub fn throw_away(&self, id: &LessonId) -> Answer {
        self.answer(|| {
            let Some(lesson) = self.store.lesson(id)? else { return Ok(unknown(id)) };
            if lesson.state == State::Discarded {
                return Ok(Answer::Already(Some(id.clone())));
            }
            if lesson.state.is_live() || lesson.state == State::Finishing {
                return Ok(no("finishing", "the lesson is just being recorded or saved; end it first"));
            }
            if let Some(what) = &lesson.submitted {
                return Ok(no("submitted", format!("the lesson was put forward for {what} and is kept")));
            }
            let now = clock::wall_ms();
            if now - lesson.started_wall_ms > REGRET_MS {
                return Ok(no("too_late", "a lesson can be thrown away on its day only"));
            }
            let state = self.store.throw_away(id, now)?;
            tracing::info!(lesson = %id, "the teacher threw the lesson away");
            self.show(id, |shown| (shown.state, shown.thrown_away) = (state, true));
            remove(&self.store, &lesson)?;
            self.store.bells().upload.notify_one();
            Ok(Answer::Done(Some(id.clone())))
        })
    }

    /// 报修: a ticket with the machine's condition; the same id again is the same ticket.
    pub fn repair(&self, id: &str, text: &str, condition: serde_json::Value) -> Answer {
        if id.len() != 16 || !id.bytes().all(|c| c.is_ascii_hexdigit()) {
            return no("ticket", "a ticket's id is 16 hexadecimal digits");
        }
        if text.chars().count() > REPAIR_MAX_CHARS {
            return no("ticket", format!("the text is longer than {REPAIR_MAX_CHARS} characters"));
        }
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.answer(|| {
            self.tell("repair", &Repair { id: id.to_owned(), text, condition })?;
            tracing::info!(ticket = id, "the teacher reports a fault");
            Ok(Answer::Done(None))
        })
    }

    fn sealed(
        &self,
        id: &LessonId,
        act: impl FnOnce(&Lesson, Digest) -> Result<Answer, StoreError>,
    ) -> Answer {
        self.answer(|| match self.store.lesson(id)? {
            None => Ok(unknown(id)),
            Some(lesson) if lesson.state == State::Discarded => {
                Ok(no("discarded", "the lesson was thrown away"))
            }
            Some(lesson) => match lesson.manifest_sha256 {
                Some(manifest) => act(&lesson, manifest),
                None => Ok(no("finishing", "the lesson is not sealed yet; try again in a moment")),
            },
        })
    }

    fn answer(&self, act: impl FnOnce() -> Result<Answer, StoreError>) -> Answer {
        act().unwrap_or_else(|e| {
            tracing::error!("{e}");
            no("failed", e.to_string())
        })
    }

    fn signed<T: lectern_wire::sign::Document>(&self, document: T) -> Result<Signed<T>, StoreError> {
        Signed::sign(document, &self.key).map_err(|e| StoreError::Impossible(e.to_string()))
    }

    fn tell(&self, kind: &str, what: &impl Serialize) -> Result<(), StoreError> {
        let data = serde_json::to_value(what).map_err(|e| StoreError::Impossible(e.to_string()))?;
        self.store.outbox().commit_event(kind, &data)?;
        self.store.bells().publish.notify_one();
        Ok(())
    }

    fn show(&self, id: &LessonId, change: impl FnOnce(&mut crate::model::status::Lesson)) {
        self.store.board().update(|s| {
            if let Some(shown) = s.lesson.as_mut().filter(|shown| shown.id == *id) {
                change(shown);
            }
        });
    }
}

fn unknown(id: &LessonId) -> Answer {
    no("unknown", format!("there is no lesson {id} on this machine"))
}

/// Finishes throwing away what a crash left half done.
///
/// # Errors
/// [`StoreError`].
pub fn resume(store: &Store) -> Result<(), StoreError> {
    for lesson in store.lessons()?.iter().filter(|l| l.discarded_wall_ms.is_some()) {
        remove(store, lesson)?;
    }
    Ok(())
}

/// Removes a lesson's clips and folder; the row that decided it is durable. A clip that is being made just now
/// finds its row gone and gives up.
fn remove(store: &Store, lesson: &Lesson) -> Result<(), StoreError> {
    for clip in store.clips()?.iter().filter(|clip| clip.lesson == lesson.id) {
        store.end_clip(clip.id, ClipState::Cancelled, None, None)?;
        let path = store.clips_folder().join(&clip.name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(at(&path)(e)),
            _ => store.forget_clip(clip.id)?,
        }
    }
    store.bells().render.notify_one();
    let folder = store.lesson_folder(&lesson.id);
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome.map_err(at(&folder))?,
    }
    let shelf = store.folder().join("lessons");
    disk::sync_folder(&shelf).map_err(at(&shelf))
}
