//! The two listeners. One file per resource: parse, call, answer. No SQL and no rule.

pub mod certificates;
pub mod machines;
pub mod operators;
pub mod table;
