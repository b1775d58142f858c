//! From assignments to plans: [`plan`] decides, [`tick`] brings it into force.

pub mod plan;
pub mod tick;
