//! What the agent remembers: the journal on the disk, and what it can afford to lose.

pub mod events;
pub mod journal;
pub mod keeper;
pub mod newer;
pub mod queue;
pub mod retries;
pub mod session;
pub mod status;
