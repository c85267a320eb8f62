//! What a person adds to a lesson after it was sealed: 补充课题 and 提交认证, as events the device signed.
//!
//! An addition may come before its lesson, before the lesson's manifest and before the device's key. So it
//! is kept as it came, and the lesson's row is made from all of them anew ([`settle`]) whenever one arrives
//! and when the lesson is stored. Only what the pinned key signed for exactly the stored manifest counts.
//! Their order is that of the device's event numbers: its clock may have stood in 2013 in between.

use lectern_wire::afterwards::{Amendment, Submission};
use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId};
use lectern_wire::sign::{Document, KeyRing, Signed};
use lectern_wire::telemetry::Event;
use lectern_wire::upload::StoreState;
use rusqlite::{Connection, params};

use super::lessons::{self, Lesson};
use super::{device_keys, odd};

/// Longest name of a scheme or of its point, in characters.
const MAX_NAME: usize = 40;
/// Most schemes and points shown of one lesson; the oldest go.
const MOST_SUBMITTED: usize = 8;

/// A document that adds to a lesson.
trait Addition: Document + PartialEq {
    /// The event's type.
    const KIND: &'static str;
    fn lesson(&self) -> &LessonId;
    fn manifest(&self) -> Digest;
    /// What is wrong with it by itself.
    fn fault(&self) -> Option<String>;
}

impl Addition for Amendment {
    const KIND: &'static str = "amended";
    fn lesson(&self) -> &LessonId {
        &self.lesson_id
    }
    fn manifest(&self) -> Digest {
        self.manifest_sha256
    }
    fn fault(&self) -> Option<String> {
        version_fault(self.v).or_else(|| self.about.fault())
    }
}

impl Addition for Submission {
    const KIND: &'static str = "submitted";
    fn lesson(&self) -> &LessonId {
        &self.lesson_id
    }
    fn manifest(&self) -> Digest {
        self.manifest_sha256
    }
    fn fault(&self) -> Option<String> {
        let bad = |text: &str| text.chars().count() > MAX_NAME || text.chars().any(char::is_control);
        let named = !self.scheme.is_empty() && !bad(&self.scheme) && !bad(&self.point);
        version_fault(self.v).or_else(|| {
            (!named).then(|| format!("scheme and point are names of at most {MAX_NAME} characters"))
        })
    }
}

fn version_fault(v: u32) -> Option<String> {
    (v != 1).then(|| format!("version {v} is not known here, only 1 is"))
}

/// Takes an event that was stored. The inner error says why nothing can be made of it; events of other
/// kinds are none of this module's.
///
/// # Errors
/// What the database says.
pub fn heard(
    db: &Connection,
    device: &DeviceId,
    kind: &str,
    event: &Event,
) -> rusqlite::Result<Result<(), String>> {
    match kind {
        Amendment::KIND => keep::<Amendment>(db, device, event),
        Submission::KIND => keep::<Submission>(db, device, event),
        _ => Ok(Ok(())),
    }
}

fn keep<T: Addition>(
    db: &Connection,
    device: &DeviceId,
    event: &Event,
) -> rusqlite::Result<Result<(), String>> {
    let signed: Signed<T> = match serde_json::from_value(event.data.clone()) {
        Ok(signed) => signed,
        Err(e) => return Ok(Err(e.to_string())),
    };
    let said = &signed.document;
    if let Some(fault) = said.fault() {
        return Ok(Err(fault));
    }
    // Before its first lesson is announced a device has no key here; then `settle` checks alone.
    if let Some(ring) = ring(db, device)?
        && let Err(e) = signed.verify(&ring)
    {
        return Ok(Err(e.to_string()));
    }
    if let Some(lesson) = lessons::find(db, said.lesson().as_str())? {
        if lesson.device != *device {
            return Ok(Err("it is about another device's lesson".into()));
        }
        if lesson.state == StoreState::Stored && lesson.manifest_sha256 != Some(said.manifest()) {
            return Ok(Err("it is about another manifest than the stored one".into()));
        }
    }
    let text = event.data.to_string();
    db.execute(
        "INSERT OR IGNORE INTO addition (lesson, device, kind, epoch, seq, document)
         SELECT ?1, id, ?2, epoch, ?3, ?4 FROM device WHERE id = ?5",
        params![
            said.lesson().as_str(),
            T::KIND,
            i64::try_from(event.seq).unwrap_or(i64::MAX),
            text,
            device.as_str()
        ],
    )?;
    settle(db, said.lesson())?;
    Ok(Ok(()))
}

/// The keys that may have signed it: none when none was shown yet.
fn ring(db: &Connection, device: &DeviceId) -> rusqlite::Result<Option<KeyRing>> {
    let ring = device_keys::ring(db, device)?;
    Ok((!ring.is_empty()).then_some(ring))
}

/// Makes a stored lesson's row say what was added to it. Any other lesson stays as it is.
///
/// # Errors
/// What the database says.
pub fn settle(db: &Connection, id: &LessonId) -> rusqlite::Result<()> {
    let Some(lesson) = lessons::find(db, id.as_str())?.filter(|l| l.state == StoreState::Stored) else {
        return Ok(());
    };
    let Some(ring) = ring(db, &lesson.device)? else { return Ok(()) };
    let json = |e| rusqlite::Error::ToSqlConversionFailure(Box::new(e));
    if let Some(newest) = additions::<Amendment>(db, &lesson, &ring)?.pop() {
        let about = serde_json::to_string(&newest.about).map_err(json)?;
        db.execute(
            "UPDATE lesson SET about = ?, amended_ms = ? WHERE id = ?",
            params![about, newest.wall_ms, id.as_str()],
        )?;
    }
    let mut submitted: Vec<Submission> = Vec::new();
    for said in additions::<Submission>(db, &lesson, &ring)? {
        submitted.retain(|s| (&s.scheme, &s.point) != (&said.scheme, &said.point));
        submitted.push(said);
    }
    if !submitted.is_empty() {
        let newest = submitted.len().saturating_sub(MOST_SUBMITTED);
        let text = serde_json::to_string(submitted.get(newest..).unwrap_or_default()).map_err(json)?;
        db.execute("UPDATE lesson SET submitted = ? WHERE id = ?", params![text, id.as_str()])?;
    }
    Ok(())
}

/// What counts of one kind, oldest first. A document that is sent again under a later number stands where
/// it stood first, so that an old word cannot be made the newest.
fn additions<T: Addition>(db: &Connection, lesson: &Lesson, ring: &KeyRing) -> rusqlite::Result<Vec<T>> {
    let mut rows = db.prepare_cached(
        "SELECT document FROM addition WHERE lesson = ? AND device = ? AND kind = ? ORDER BY epoch, seq",
    )?;
    let mut rows = rows.query(params![lesson.id.as_str(), lesson.device.as_str(), T::KIND])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let signed: Signed<T> = serde_json::from_str(&row.get::<_, String>(0)?).map_err(|e| odd(0, e))?;
        let sound = signed.verify(ring).is_ok();
        if sound
            && lesson.manifest_sha256 == Some(signed.document.manifest())
            && !out.contains(&*signed.document)
        {
            out.push(signed.document.into_understood());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use lectern_wire::manifest::About;
    use lectern_wire::receipt::StoreLocation;
    use lectern_wire::sign::PublicKey;

    use super::*;
    use crate::store::objects::Kind;
    use crate::store::{Store, devices, events, receipts};
    use crate::testkit;

    /// A hub's rows with one device; what it says is stored as ingest does it.
    struct Bench {
        store: Store,
        device: DeviceId,
        manifest: Signed<lectern_wire::manifest::Manifest>,
        _folder: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("folder");
            let store = Store::open(folder.path()).expect("opens");
            let topics = testkit::topics("room-1");
            store.write_now(|db| devices::add(db, &topics, "301教室", "pw", 1)).expect("added");
            let manifest =
                Signed::sign(testkit::manifest("l1", &[(3, 1000)]).0, &testkit::key(7)).expect("signs");
            Self { store, device: topics.device, manifest, _folder: folder }
        }

        fn announce(&self) {
            let (topics, id) = (testkit::topics("room-1"), &self.manifest.document.lesson_id);
            let key = PublicKey::of(&testkit::key(7));
            let announced = self.store.write_now(|db| {
                device_keys::show(db, &topics.device, key, &[], 1)?.expect("accepted");
                lessons::announce(db, id, &topics, 1, &About::default(), (Kind::File, 1))
            });
            announced.expect("announced");
        }

        fn seal(&self) {
            let (digest, id) = (self.digest(), &self.manifest.document.lesson_id);
            let at = StoreLocation { kind: "file".into(), objects: vec![] };
            let sealed = self.store.write_now(|db| {
                lessons::begin_seal(db, &self.manifest, digest)?;
                let facts = receipts::Facts {
                    lesson: id,
                    manifest_sha256: digest,
                    store: at.clone(),
                    heads: None,
                    salt: lectern_wire::log::Salt::new([1; 32]),
                    now: 2,
                };
                receipts::append(db, &testkit::signer(8), facts)
            });
            assert!(sealed.expect("sealed").is_some());
        }

        fn digest(&self) -> Digest {
            self.manifest.document.digest().expect("digest")
        }

        fn says(&self, seq: u64, kind: &str, data: serde_json::Value) -> Result<(), String> {
            let event = Event { seq, ts: 1, mono_ms: 1, boot_id: "b".into(), clock_trusted: true, data };
            let heard = self.store.write_now(|db| {
                let (new, _) = events::add(db, &self.device, kind, &event, 5)?;
                assert!(new, "{seq} is stored whatever it says");
                heard(db, &self.device, kind, &event)
            });
            heard.expect("no database fault")
        }

        fn amendment(&self, topic: &str, seed: u8, manifest: Digest) -> serde_json::Value {
            let about = About { topic: topic.into(), subject: "语文".into(), ..About::default() };
            let lesson_id = self.manifest.document.lesson_id.clone();
            let said = Amendment { v: 1, lesson_id, manifest_sha256: manifest, about, wall_ms: 77 };
            serde_json::to_value(Signed::sign(said, &testkit::key(seed)).expect("signs")).expect("json")
        }

        fn submission(&self, scheme: &str, point: &str, wall_ms: i64) -> serde_json::Value {
            let said = Submission {
                v: 1,
                lesson_id: self.manifest.document.lesson_id.clone(),
                manifest_sha256: self.digest(),
                scheme: scheme.into(),
                point: point.into(),
                wall_ms,
            };
            serde_json::to_value(Signed::sign(said, &testkit::key(7)).expect("signs")).expect("json")
        }

        fn lesson(&self) -> Lesson {
            self.store.read_now(|db| lessons::find(db, "l1")).expect("read").expect("is there")
        }
    }

    #[test]
    fn what_is_added_takes_effect_whenever_it_comes() {
        // Bit by bit later: before the lesson is known, before it is stored, after.
        for moment in 0..3 {
            let bench = Bench::new();
            let steps: [&dyn Fn(); 2] = [&|| bench.announce(), &|| bench.seal()];
            steps[..moment].iter().for_each(|step| step());
            assert_eq!(bench.says(1, "amended", bench.amendment("新课题", 7, bench.digest())), Ok(()));
            assert_eq!(bench.says(2, "submitted", bench.submission("weinengli2", "A5", 5)), Ok(()));
            steps[moment..].iter().for_each(|step| step());
            let lesson = bench.lesson();
            assert_eq!((lesson.about.topic.as_str(), lesson.amended_ms), ("新课题", Some(77)), "{moment}");
            assert_eq!(lesson.submitted.iter().map(|s| s.point.as_str()).collect::<Vec<_>>(), ["A5"]);
            let found = bench.store.read_now(|db| {
                let filter = lessons::Filter { text: Some("新课题".into()), ..Default::default() };
                lessons::list(db, &filter, 9, 0)
            });
            assert_eq!(found.expect("read").len(), 1, "and it is found by it");
        }
    }

    #[test]
    fn only_the_pinned_key_changes_a_lesson_and_only_for_its_own_manifest() {
        let bench = Bench::new();
        let other = Digest::of(b"another manifest");
        // Before the key and the lesson are known these cannot be told from good ones.
        assert_eq!(bench.says(1, "amended", bench.amendment("假", 9, bench.digest())), Ok(()));
        assert_eq!(bench.says(2, "amended", bench.amendment("假", 7, other)), Ok(()));
        bench.announce();
        bench.seal();
        assert_eq!((bench.lesson().about.topic.as_str(), bench.lesson().amended_ms), ("草船借箭", None));

        assert!(bench.says(3, "amended", bench.amendment("假", 9, bench.digest())).is_err());
        assert!(bench.says(4, "amended", bench.amendment("假", 7, other)).is_err());
        let mut forged = bench.amendment("真", 7, bench.digest());
        forged["document"]["about"]["topic"] = "假".into();
        assert!(bench.says(5, "amended", forged).is_err());
        // A submission's signature does not make an amendment, nor a long text a topic.
        let mut crossed = bench.amendment("假", 7, bench.digest());
        crossed["signature"] = bench.submission("x", "", 1)["signature"].clone();
        assert!(bench.says(6, "amended", crossed).is_err());
        assert!(bench.says(7, "amended", bench.amendment(&"长".repeat(81), 7, bench.digest())).is_err());
        assert!(bench.says(8, "submitted", bench.submission("", "A5", 1)).is_err());
        assert!(bench.says(9, "submitted", bench.submission("x", &"长".repeat(41), 1)).is_err());
        for (seq, garbage) in [(10, serde_json::json!(null)), (11, serde_json::json!({"document": []}))] {
            assert!(bench.says(seq, "amended", garbage.clone()).is_err());
            assert!(bench.says(seq + 10, "submitted", garbage).is_err());
        }
        let lesson = bench.lesson();
        assert_eq!((lesson.about.topic.as_str(), lesson.submitted.len()), ("草船借箭", 0));
    }

    #[test]
    fn the_newest_word_stands_by_the_devices_own_numbers_and_an_old_one_cannot_be_said_anew() {
        let bench = Bench::new();
        bench.announce();
        bench.seal();
        let (old, new) = (bench.amendment("旧", 7, bench.digest()), bench.amendment("新", 7, bench.digest()));
        assert_eq!(bench.says(5, "amended", new), Ok(()));
        assert_eq!(bench.says(4, "amended", old.clone()), Ok(()), "late, on a bad line");
        assert_eq!(bench.lesson().about.topic, "新");
        assert_eq!(bench.says(6, "amended", old), Ok(()), "the same words under a new number");
        assert_eq!(bench.lesson().about.topic, "新");

        for (seq, (scheme, point)) in (7..).zip([("weinengli2", "A5"), ("youke", ""), ("weinengli2", "A5")]) {
            let said = bench.submission(scheme, point, i64::try_from(seq).expect("small"));
            assert_eq!(bench.says(seq, "submitted", said), Ok(()));
        }
        let lesson = bench.lesson();
        let shown: Vec<_> = lesson.submitted.iter().map(|s| (s.scheme.as_str(), s.wall_ms)).collect();
        assert_eq!(shown, [("youke", 8), ("weinengli2", 9)]);
    }

    #[test]
    fn a_discarded_lesson_hears_nothing_more_and_another_devices_lesson_is_left_alone() {
        let bench = Bench::new();
        bench.announce();
        bench.seal();
        let id = &bench.manifest.document.lesson_id;
        bench.store.write_now(|db| lessons::discard(db, id, 9)).expect("discarded");
        assert_eq!(bench.says(1, "amended", bench.amendment("新", 7, bench.digest())), Ok(()));
        assert_eq!((bench.lesson().about.topic.as_str(), bench.lesson().discarded_ms), ("草船借箭", Some(9)));
        let took = bench.store.write_now(|db| db.execute("UPDATE lesson SET device = 'room-2'", []));
        took.expect("as if another's");
        assert!(bench.says(2, "amended", bench.amendment("新", 7, bench.digest())).is_err());
    }
}
