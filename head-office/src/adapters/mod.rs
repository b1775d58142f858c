//! What reaches out of the process: the only place that spawns one (invariant 8).

pub mod external;
