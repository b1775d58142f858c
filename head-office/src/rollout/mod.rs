//! From assignments to plans: [`plan`] decides (pure), [`tick`] brings it into force, [`intake`] lets plans follow reports.

pub mod intake;
pub mod plan;
pub mod tick;
