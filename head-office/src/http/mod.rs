//! The HTTP side of head office: [`table`] has every route of both listeners; a handler parses, calls and answers, with no
//! SQL and no rule. [`operators`] and [`machines`] have one file per resource; [`artifacts`] and [`metadata`] serve both.

pub mod artifacts;
pub mod certificates;
pub mod document;
pub mod errors;
pub mod machines;
pub mod metadata;
pub mod operators;
mod page;
pub mod table;
