//! From assignments to plans: [`plan`] decides, [`apply`] does it.

pub mod apply;
pub mod plan;
