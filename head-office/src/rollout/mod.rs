//! From assignments to plans: [`plan`] decides (pure), [`tick`] brings it into force, [`assign`] what operators assign.

pub mod assign;
pub mod plan;
pub mod tick;
