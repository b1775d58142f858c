//! What reaches outside this process. Nothing else here spawns programs.

pub(crate) mod process;
