//! Whether a lesson is what its device signed and its hub stored, and how it is handed to others.
//!
//! ```text
//! open   what lies there (folder, take, standard MP4, BagIt folder or zip) ─▶ Found: papers and bytes
//! check  Found ─▶ Report: verdicts, faults, notes          pure but for the bytes it is given to read
//! words  each verdict, fault and note in a sentence, English and Chinese
//! page   Report ─▶ one self-contained page in Chinese
//! joined takes ─▶ the standard MP4 that proves itself, and back
//! export lesson ─▶ 材料包: BagIt folder or zip, also without names
//! ```
//!
//! Shared by the agent (`lectern verify`, `lectern export`) and the hub (重新核验, 导出材料包): a second program needs
//! it, which is what makes it a crate. It opens no socket and needs no libav.

pub mod blind;
pub mod bytes;
pub mod check;
pub mod export;
mod heads;
pub mod joined;
pub mod open;
pub mod page;
pub mod report;
mod takes;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
pub mod words;
