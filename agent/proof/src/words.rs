//! Verdicts, faults and notes as people read them, in English and in Chinese.

use lectern_wire::manifest::{FindingKind, clock_text};

use crate::report::{Fault, Harm, Note, Paper, Said, Verdict};

impl Verdict {
    /// In a few words: English, Chinese.
    #[must_use]
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Complete => ("complete, as recorded", "完整，没有改动"),
            Self::RangeComplete => ("the range is as recorded", "这一段完整，没有改动"),
            Self::Altered => ("altered", "和录制时不一致"),
            Self::Missing => ("something is missing", "有缺失"),
            Self::KeyUnknown => ("the signing key is not known here", "不认识签名的密钥"),
            Self::Unreadable => ("it could not be checked", "无法核验"),
            Self::GapExplained => ("interruptions are explained", "有中断，原因有记录"),
            Self::GapUnexplained => ("an interruption is not explained", "有中断，没有记录原因"),
            Self::TimeUnproven => ("the time of recording is not proven", "录制时间没有旁证"),
            Self::Uninterrupted => ("one uninterrupted take", "不剪辑：一段录到底"),
            Self::Anonymous => ("without names", "匿名"),
        }
    }

    /// Whether it is good news, bad news, or neither.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Complete | Self::RangeComplete | Self::Uninterrupted => "good",
            Self::Altered | Self::Missing | Self::KeyUnknown | Self::Unreadable | Self::GapUnexplained => {
                "bad"
            }
            Self::GapExplained | Self::TimeUnproven | Self::Anonymous => "plain",
        }
    }
}

impl Paper {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Manifest => ("the manifest", "清单"),
            Self::Receipt => ("the receipt", "回执"),
            Self::Checkpoint => ("the log's checkpoint", "存证日志"),
            Self::Head => ("a chain head", "录制中的签名"),
        }
    }
}

impl Harm {
    fn words(&self) -> (String, String) {
        match self {
            Self::Altered => ("the bytes are not what was recorded".into(), "被改动".into()),
            Self::Missing => ("the bytes are missing".into(), "缺失".into()),
            Self::Unreadable(why) => (format!("it cannot be read: {why}"), format!("读不出来：{why}")),
            Self::Is { take, n } => (
                format!("the bytes are those of take {take} part {n}, in the wrong place"),
                format!("放错了位置，是第 {take} 段分片 {n} 的数据"),
            ),
            Self::Unlisted => ("it is in no list of the export".into(), "不在材料包的目录里".into()),
        }
    }
}

impl Fault {
    /// Its kind, as it stands in reports.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } | Self::NotATake { .. } | Self::TakeName { .. } => "document",
            Self::Slicing { .. } | Self::WholeHash { .. } => "document",
            Self::KeyUnknown { .. } => "key_unknown",
            Self::Signature { .. } | Self::CommitmentOfAnother => "signature",
            Self::ReceiptOfAnother | Self::ReceiptTake { .. } => "receipt",
            Self::Log { .. } => "log",
            Self::Chain { .. } => "chain",
            Self::NoTake { .. } | Self::FileShort { .. } => "missing",
            Self::Part { harm: Harm::Missing | Harm::Unreadable(_), .. } => "missing",
            Self::Bag { harm: Harm::Missing | Harm::Unreadable(_), .. } => "missing",
            Self::Part { .. } | Self::Bag { .. } | Self::TakeTooLong { .. } => "altered",
            Self::Tables | Self::FileLong { .. } => "altered",
        }
    }

    fn place(&self) -> (Option<u32>, Option<u32>, Option<(u64, u64)>) {
        match self {
            Self::Part { take, n, span, .. } => (Some(*take), Some(*n), Some(*span)),
            Self::ReceiptTake { take }
            | Self::Chain { take, .. }
            | Self::TakeName { take, .. }
            | Self::Slicing { take }
            | Self::NoTake { take, .. }
            | Self::WholeHash { take }
            | Self::TakeTooLong { take, .. } => (Some(*take), None, None),
            _ => (None, None, None),
        }
    }

    /// In words.
    #[must_use]
    pub fn say(&self) -> Said {
        let (sentence, zh) = self.sentences();
        let (take, part, span_ms) = self.place();
        Said { kind: self.kind().into(), take, part, span_ms, sentence, zh }
    }

    fn sentences(&self) -> (String, String) {
        match self {
            Self::Unreadable { what, why } => (format!("{what}: {why}"), format!("{what} 读不出来：{why}")),
            Self::KeyUnknown { paper, key } => {
                let (en, zh) = paper.words();
                (
                    format!("{en}: the signing key {key} is not known here"),
                    format!("{zh}是用不认识的密钥 {key} 签的。请向学校要公钥。"),
                )
            }
            Self::Signature { paper, why } => {
                let (en, zh) = paper.words();
                (format!("{en}: {why}"), format!("{zh}的签名不符，签名之后被改过。"))
            }
            Self::ReceiptOfAnother => {
                ("the receipt belongs to another manifest".into(), "回执不是这份清单的。".into())
            }
            Self::ReceiptTake { take } => (
                format!("the receipt says something else of take {take} than the manifest"),
                format!("回执里第 {take} 段的大小或摘要和清单不符。"),
            ),
            Self::Log { why } => {
                (format!("the hub's log: {why}"), format!("中心的存证日志不能证明这份回执：{why}"))
            }
            Self::Chain { take, why } => (
                format!("take {take}: what the device signed while recording does not fit: {why}"),
                format!("第 {take} 段和录制中的签名不符：{why}"),
            ),
            Self::CommitmentOfAnother => (
                "the manifest that was shown is not the one this anonymous export commits to".into(),
                "出示的清单不是这份匿名材料承诺的那一份。".into(),
            ),
            Self::NotATake { file } => {
                (format!("{file} is not a take of this manifest"), format!("{file} 不是这份清单里的录像。"))
            }
            Self::TakeName { take, file } => (
                format!("{file:?} is not the name of take {take}"),
                format!("清单里第 {take} 段的文件名 {file:?} 不对。"),
            ),
            Self::Slicing { take } => {
                (format!("the parts of take {take} do not add up"), format!("第 {take} 段的分片对不上。"))
            }
            Self::NoTake { take, why } => {
                (format!("take {take} is missing: {why}"), format!("第 {take} 段缺失：{why}"))
            }
            Self::Part { take, n, span, harm } => {
                let (from, to) = (clock_text(span.0), clock_text(span.1));
                let (en, zh) = harm.words();
                (
                    format!("take {take} part {n} ({from}–{to}): {en}"),
                    format!("第 {take} 段 {from}–{to} 的数据{zh}（分片 {n}）"),
                )
            }
            Self::WholeHash { take } => (
                format!("take {take}'s own hash does not fit its parts"),
                format!("第 {take} 段的整体校验不符"),
            ),
            Self::TakeTooLong { take, extra } => (
                format!("take {take} has {extra} bytes behind its end that were never recorded"),
                format!("第 {take} 段末尾多出 {extra} 字节，不是录下来的。"),
            ),
            Self::Tables => (
                "the tables of the MP4 (moov) were changed: a player may show something else than was recorded"
                    .into(),
                "MP4 的索引（moov）被改动，播放出来的可能不是录下来的样子。".into(),
            ),
            Self::FileShort { missing } => (
                format!("the MP4 is cut off: {missing} bytes are missing"),
                format!("MP4 不完整，缺 {missing} 字节。"),
            ),
            Self::FileLong { extra } => (
                format!("the MP4 has {extra} bytes behind its end that do not belong to it"),
                format!("MP4 末尾多出 {extra} 字节，不属于这节课。"),
            ),
            Self::Bag { file, harm } => {
                let (en, zh) = harm.words();
                (format!("{file}: {en}"), format!("材料包里的 {file}：{zh}。"))
            }
        }
    }
}

impl Note {
    /// In words.
    #[must_use]
    pub fn say(&self) -> Said {
        let (kind, take, span_ms) = match self {
            Self::KeysCameAlong { .. } => ("keys", None, None),
            Self::NoReceipt => ("receipt", None, None),
            Self::Anonymous => ("anonymous", None, None),
            Self::Interrupted { take, at, .. } => ("interrupted", Some(*take), Some((*at, *at))),
            Self::Paused { take, at, .. } => ("pause", Some(*take), Some((*at, *at))),
            Self::Gap { take, from, to, .. } => ("gap", Some(*take), Some((*from, to.unwrap_or(u64::MAX)))),
            Self::Clock { take } => ("clock", Some(*take), None),
        };
        let (sentence, zh) = self.sentences();
        Said { kind: kind.into(), take, part: None, span_ms, sentence, zh }
    }

    fn sentences(&self) -> (String, String) {
        let because = |why: &str| if why.is_empty() { String::new() } else { format!(": {why}") };
        let because_zh =
            |why: &str| if why.is_empty() { String::new() } else { format!("：{}", cause(why)) };
        match self {
            Self::KeysCameAlong { ids } => {
                let ids = ids.join(", ");
                (
                    format!(
                        "the keys came with the lesson: compare {ids} with what the device and the hub show"
                    ),
                    format!("公钥是随这节课一起来的：请和设备、中心显示的核对 {ids}"),
                )
            }
            Self::NoReceipt => (
                "no receipt: whether the hub has the lesson is not shown here".into(),
                "没有回执：这里看不出学校资源库是否存有这节课。".into(),
            ),
            Self::Anonymous => (
                "names are left out: once the manifest is shown, check it with --manifest".into(),
                "姓名和学校没有写出来；公布身份时出示清单，用 --manifest 核对。".into(),
            ),
            Self::Interrupted { take, at, why } => (
                format!("take {take} was interrupted at {}{}", clock_text(*at), because(why)),
                format!("第 {take} 段在 {} 中断{}", clock_text(*at), because_zh(why)),
            ),
            Self::Paused { take, at, length } => {
                let at = clock_text(*at);
                let (en, zh) = match length {
                    Some(ms) => (format!("for {} s", ms / 1000), format!("暂停 {}", span_text(*ms))),
                    None => ("to the end".to_owned(), "暂停后没有继续".to_owned()),
                };
                (format!("take {take} was paused at {at} {en}"), format!("第 {take} 段在 {at} {zh}"))
            }
            Self::Gap { take, from, to, source, why } => {
                let source_or = |other: &'static str| {
                    if source.is_empty() { other.to_owned() } else { source.clone() }
                };
                let from = clock_text(*from);
                (
                    format!(
                        "take {take}: {} away {from}–{}{}",
                        source_or("a source"),
                        to.map_or_else(|| "the end".to_owned(), clock_text),
                        because(why)
                    ),
                    format!(
                        "第 {take} 段 {from}–{} {}中断{}",
                        to.map_or_else(|| "结束".to_owned(), clock_text),
                        source_or("一路信号"),
                        because_zh(why)
                    ),
                )
            }
            Self::Clock { take } => (
                format!("take {take}: the device's clock was not known to be right"),
                format!("第 {take} 段录制时本机时钟未校准，时间仅供参考。"),
            ),
        }
    }
}

/// What a watcher saw.
#[must_use]
pub fn finding(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Silent => "没有声音",
        FindingKind::DigitalZero => "话筒静音",
        FindingKind::Clipping => "声音过大",
        FindingKind::Frozen => "摄像头画面不动",
        FindingKind::Black => "没有画面",
    }
}

/// `41 分 05 秒`.
#[must_use]
pub fn span_text(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => "不到 1 秒".into(),
        1..=59 => format!("{s} 秒"),
        60..=3599 => format!("{} 分 {:02} 秒", s / 60, s % 60),
        _ => format!("{} 小时 {:02} 分", s / 3600, s / 60 % 60),
    }
}

/// Why something broke off, as people here say it. A cause that has no word yet stands as the room said it.
#[must_use]
pub fn cause(said: &str) -> &str {
    match said {
        "the recorder was lost" => "录课程序意外停止",
        "the recorder did not end when asked" => "录课程序没有按时结束",
        "the recorder was lost and could not be kept running" => "录课程序一再停止",
        "the power was cut or the machine restarted" => "断电或重启",
        "nothing new arrived for 1 s" => "没有信号",
        "the source ended" => "信号断开",
        "the desktop, or its portal, broke off" | "the desktop session ended" => "桌面会话断开",
        "the desktop sends no picture of the screen" => "桌面没有送出画面",
        "the desktop ended the sharing of the screen" => "桌面停止了共享屏幕",
        _ if said.starts_with("the question on the screen") => "等待在屏幕上同意录屏",
        _ if said.starts_with("sharing the screen was refused") => "在屏幕上拒绝了录屏",
        _ if said.starts_with("nothing became durable") => "录像写不进磁盘",
        _ => said,
    }
}
