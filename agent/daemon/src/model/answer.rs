//! The answer to a request: done, already so, no because.

use lectern_wire::id::LessonId;

/// The three answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is being done.
    Done(Option<LessonId>),
    /// It was already so.
    Already(Option<LessonId>),
    /// No, because.
    No(Refusal),
}

/// Why not: a code for the page to put into words, and a sentence for everybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub sentence: String,
}

/// No, because.
pub fn no(code: &'static str, sentence: impl Into<String>) -> Answer {
    Answer::No(Refusal { code, sentence: sentence.into() })
}
