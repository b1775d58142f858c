//! TUF metadata as client and repository share it: names, schema, what each role may sign, and what may be believed.

pub(crate) mod content;
pub(crate) mod file_names;
pub(crate) mod files;
pub(crate) mod names;
pub(crate) mod schema;
pub(crate) mod trusted;
