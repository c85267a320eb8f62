//! Before a lesson: are the sources there, and does somebody teach without recording? Both look at the
//! sources for a moment and keep nothing; both stand back the moment a lesson begins.

mod child;
pub mod preflight;
pub mod reminder;
