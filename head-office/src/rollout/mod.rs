//! From assignments to plans: [`plan`] decides (pure), [`tick`] brings it into force.

pub mod plan;
pub mod tick;
