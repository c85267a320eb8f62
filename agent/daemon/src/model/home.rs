//! Why a volume is no home for lessons: it takes nothing, or what is written to it is gone after the next boot.

use std::fmt;

/// What speaks against the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// It can only be read.
    ReadOnly,
    /// It lies in memory; the file system's name.
    InMemory(String),
    /// Writes go to a layer above the real volume; the file system's name.
    Layer(String),
    /// The kernel was started with a word that has the system volume restored.
    BootWord(String),
    /// The hub remembers more of this volume than stands on it: it was taken back.
    TakenBack(Memory),
}

/// What the hub remembers that the volume does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// The same count of boots, seen before in another boot.
    Boots(u64),
    /// The volume was new in the last boot, and is new again.
    NewAgain,
    /// A lesson of this device that has no row here.
    Lesson(String),
}

impl Doubt {
    /// A short code for pages and programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::InMemory(_) => "in_memory",
            Self::Layer(_) => "layer",
            Self::BootWord(_) => "boot_word",
            Self::TakenBack(_) => "taken_back",
        }
    }

    /// The doubt as the school's people read it.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::ReadOnly => "数据目录所在的磁盘只能读，不能写；这期间的事只记在内存里，关机就没有了".into(),
            Self::InMemory(fs) => format!("数据目录在内存里（{fs}），关机后就没有了"),
            Self::Layer(fs) => format!("数据目录在还原层上（{fs}），重启后会还原"),
            Self::BootWord(word) => format!("系统启动参数 {word} 会在重启时还原系统盘"),
            Self::TakenBack(Memory::Boots(n)) => format!("数据目录被还原过：第 {n} 次开机出现了两次"),
            Self::TakenBack(Memory::NewAgain) => "数据目录每次开机都是新的".into(),
            Self::TakenBack(Memory::Lesson(id)) => format!("数据目录被还原过：中心有 {id} 这节，本机没有"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => {
                f.write_str("its disk can only be read: what happens meanwhile is in memory alone")
            }
            Self::InMemory(fs) => write!(f, "it lies in memory ({fs}) and is empty after the next boot"),
            Self::Layer(fs) => {
                write!(f, "writes go to a layer above the real volume ({fs}) that a restore throws away")
            }
            Self::BootWord(word) => {
                write!(f, "the kernel was started with {word}, which restores the system volume")
            }
            Self::TakenBack(Memory::Boots(n)) => {
                write!(
                    f,
                    "it was taken back to an earlier state: boot {n} of this volume has been there twice"
                )
            }
            Self::TakenBack(Memory::NewAgain) => {
                f.write_str("it was new in the last boot and is new again: something wipes it")
            }
            Self::TakenBack(Memory::Lesson(id)) => {
                write!(f, "it was taken back to an earlier state: the hub has lesson {id} of it, it has not")
            }
        }
    }
}
