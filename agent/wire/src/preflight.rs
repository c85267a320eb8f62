//! What the recorder says before a lesson: whether each source gives what it should. Nothing of it is kept.
//!
//! `lectern-recorder preflight` reads one line of [`CaptureSettings`](crate::capture::CaptureSettings) and
//! prints one [`Preflight`]; `lectern-recorder listen` reads the same line and prints a [`Heard`] every
//! 500 ms until its standard input is closed.

use serde::{Deserialize, Serialize};

use crate::capture::Encoder;

/// How all sources were found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preflight {
    /// One for each source, in the order of the settings.
    pub sources: Vec<SourceCheck>,
    /// How the picture's encoder was found; absent where a camera's pictures are kept as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<EncoderCheck>,
}

/// How the picture's encoder was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderCheck {
    /// What the lesson would be encoded with.
    pub encoder: Encoder,
    /// How it was found.
    pub state: EncoderState,
    /// What is wrong, in a sentence; nothing when it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How long the trial took, milliseconds.
    pub took_ms: u64,
}

/// How an encoder was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncoderState {
    /// Pictures that went in came out again.
    Good,
    /// It fails; libx264 works and takes its place.
    GivesWay,
    /// No picture can be encoded.
    Failed,
}

/// How one source was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceCheck {
    /// The source's name.
    pub name: String,
    /// What it is for.
    pub kind: CheckedKind,
    /// How it was found.
    pub state: CheckState,
    /// Width and height of its picture, pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<(u32, u32)>,
    /// Highest sample of a second of its sound, gain included, in dBFS; −100 stands for digital zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_dbfs: Option<f64>,
    /// What is wrong, in a sentence without secrets; nothing when it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// From the start of the check until this was known, milliseconds.
    pub took_ms: u64,
}

/// What a checked source is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckedKind {
    /// The main picture.
    Screen,
    /// A camera, by whatever wire.
    Camera,
    /// Sound.
    Microphone,
    /// The generated card and tone.
    Test,
}

/// How a source was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// It gives a picture with something in it, or sound that can be heard.
    Good,
    /// It could be opened, or answered, but no picture came in time.
    NoPicture,
    /// Its picture is black.
    Black,
    /// Its sound is digital zero, or too soft to be a voice in the room.
    Silent,
    /// It could not be opened, or a microphone gave nothing at all.
    Failed,
}

/// Loudness of the loudest microphone over the last 500 ms, gain included. Both are absent when none gave any sound.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// Highest sample, dBFS; −100 stands for digital zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_dbfs: Option<f64>,
    /// Mean power, dBFS; −100 stands for digital zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rms_dbfs: Option<f64>,
    /// Why there is no sound, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_reads_as_it_is_written_down() {
        let check = SourceCheck {
            name: "camera".into(),
            kind: CheckedKind::Camera,
            state: CheckState::NoPicture,
            picture: None,
            peak_dbfs: None,
            problem: Some("no picture came in 4 s".into()),
            took_ms: 4000,
        };
        let line = r#"{"name":"camera","kind":"camera","state":"no_picture","problem":"no picture came in 4 s","took_ms":4000}"#;
        assert_eq!(serde_json::to_string(&check).expect("json"), line);
        assert_eq!(serde_json::from_str::<SourceCheck>(line).expect("json"), check);
    }
}
