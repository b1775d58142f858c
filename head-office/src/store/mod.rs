//! The artifacts and archives on disk: [`folders`], [`holds`] (who uses an artifact), [`claims`] (who writes an upload),
//! [`index`] (the beginning of an artifact).

pub mod claims;
pub mod folders;
pub mod holds;
pub mod index;
