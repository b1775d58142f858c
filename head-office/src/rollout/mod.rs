//! From assignments to plans: [`plan`] decides (pure), [`tick`] brings it into force, [`renewal`] does so when it is due
//! although nothing changed, [`assign`] what operators assign.

pub mod assign;
pub mod plan;
pub mod renewal;
pub mod tick;
