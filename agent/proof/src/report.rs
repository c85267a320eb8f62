//! What a check found. Data only: [`crate::words`] puts it into sentences.

use serde::{Deserialize, Serialize};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The lesson, once its manifest could be read.
    pub lesson_id: Option<String>,
    /// Everything that was checked is there and as it was signed.
    pub sound: bool,
    /// All that can be said at once.
    pub verdicts: Vec<Verdict>,
    /// What is wrong.
    pub faults: Vec<Said>,
    /// What is worth knowing.
    pub notes: Vec<Said>,
    /// Where the public keys are from.
    pub keys: Keys,
    /// Whether a receipt of the hub is there and fits.
    pub receipted: bool,
    /// One uninterrupted take, without pause or gap (不剪辑).
    pub uninterrupted: bool,
    /// Length of the picture in all takes, milliseconds.
    pub duration_ms: u64,
    /// The range that was asked for, milliseconds of the lesson; all else was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_ms: Option<(u64, u64)>,
    /// Parts checked.
    pub parts: u64,
    /// Bytes checked.
    pub bytes: u64,
}

/// What can be said of a lesson at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All bytes are there and as recorded.
    Complete,
    /// The range that was asked for is as recorded.
    RangeComplete,
    /// Something is not as it was recorded or signed.
    Altered,
    /// Something is missing.
    Missing,
    /// A key is not known here.
    KeyUnknown,
    /// It could not be checked: what would prove it cannot be read.
    Unreadable,
    /// Sources or takes broke off, and the manifest says why.
    GapExplained,
    /// Something broke off and nothing says why.
    GapUnexplained,
    /// Nothing but the device's own clock says when it was recorded, or that clock was not known to be right.
    TimeUnproven,
    /// One take without pause, gap or cut.
    Uninterrupted,
    /// Names are left out; a commitment stands for the manifest.
    Anonymous,
}

/// Where public keys are from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// Given by whoever asks.
    Trusted,
    /// They came with the lesson: nothing was changed since somebody signed, but not who that was.
    Folder,
    /// There are none.
    #[default]
    None,
}

/// A fault or a note, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// `altered`, `missing`, `key_unknown`, `signature`, `receipt`, `log`, `chain`, `document`; of notes `pause`, `gap`,
    /// `interrupted`, `finding`, `mark`, `clock`, `keys`, `receipt`.
    pub kind: String,
    /// The take concerned.
    pub take: Option<u32>,
    /// The part concerned.
    pub part: Option<u32>,
    /// The span of the take concerned, milliseconds.
    pub span_ms: Option<(u64, u64)>,
    /// In a sentence.
    pub sentence: String,
    /// In Chinese.
    pub zh: String,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Something that is needed cannot be read.
    Unreadable {
        /// Which file, or part of one.
        what: String,
        /// Why, in a sentence.
        why: String,
    },
    /// Nobody here knows the key something was signed with.
    KeyUnknown {
        /// What was signed.
        paper: Paper,
        /// The key.
        key: String,
    },
    /// A signature does not fit.
    Signature {
        /// What was signed.
        paper: Paper,
        /// Why, in a sentence.
        why: String,
    },
    /// The receipt belongs to another manifest or lesson.
    ReceiptOfAnother,
    /// The receipt says something else of a take than the manifest.
    ReceiptTake {
        /// The take.
        take: u32,
    },
    /// The hub's log does not hold the receipt.
    Log {
        /// Why, in a sentence.
        why: String,
    },
    /// What the device signed while it recorded is not what the manifest says.
    Chain {
        /// The take.
        take: u32,
        /// Why, in a sentence.
        why: String,
    },
    /// The manifest that was shown is not the one the commitment stands for.
    CommitmentOfAnother,
    /// A file is not a take of this manifest.
    NotATake {
        /// The file.
        file: String,
    },
    /// The manifest gives a take a name it cannot have.
    TakeName {
        /// The take.
        take: u32,
        /// The name.
        file: String,
    },
    /// The parts of a take do not add up.
    Slicing {
        /// The take.
        take: u32,
    },
    /// A take is not there.
    NoTake {
        /// The take.
        take: u32,
        /// Why, in a sentence.
        why: String,
    },
    /// A part is not as it was recorded.
    Part {
        /// The take.
        take: u32,
        /// The part.
        n: u32,
        /// The time it concerns, milliseconds of the take.
        span: (u64, u64),
        /// What befell it.
        harm: Harm,
    },
    /// The take's own hash does not fit its parts.
    WholeHash {
        /// The take.
        take: u32,
    },
    /// There are bytes behind a take's end.
    TakeTooLong {
        /// The take.
        take: u32,
        /// How many.
        extra: u64,
    },
    /// The tables of a standard MP4 are not those that follow from its takes.
    Tables,
    /// A standard MP4 has fewer bytes than its takes.
    FileShort {
        /// How many are missing.
        missing: u64,
    },
    /// There is something behind the end of a standard MP4.
    FileLong {
        /// How many bytes.
        extra: u64,
    },
    /// A file of a BagIt export is not what its list says.
    Bag {
        /// The file.
        file: String,
        /// What is wrong with it.
        harm: Harm,
    },
}

/// What befell bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Harm {
    /// They are others.
    Altered,
    /// They are not there.
    Missing,
    /// They cannot be read.
    Unreadable(String),
    /// They are those of another part.
    Is {
        /// Of this take.
        take: u32,
        /// This part.
        n: u32,
    },
    /// They are in no list.
    Unlisted,
}

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paper {
    /// The manifest.
    Manifest,
    /// The receipt.
    Receipt,
    /// The newest state of the hub's log.
    Checkpoint,
    /// What the device signed while it recorded.
    Head,
}

/// What is worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The keys came with the lesson.
    KeysCameAlong {
        /// Their ids.
        ids: Vec<String>,
    },
    /// There is no receipt.
    NoReceipt,
    /// A commitment stands for the manifest.
    Anonymous,
    /// A take broke off.
    Interrupted {
        /// The take.
        take: u32,
        /// Where.
        at: u64,
        /// Why; may be empty.
        why: String,
    },
    /// The lesson was paused.
    Paused {
        /// The take.
        take: u32,
        /// Where.
        at: u64,
        /// For how long; to the end without it.
        length: Option<u64>,
    },
    /// A source was away.
    Gap {
        /// The take.
        take: u32,
        /// From here.
        from: u64,
        /// To here; to the end without it.
        to: Option<u64>,
        /// Which; may be empty.
        source: String,
        /// Why; may be empty.
        why: String,
    },
    /// The device's clock was not known to be right.
    Clock {
        /// The take.
        take: u32,
    },
}
