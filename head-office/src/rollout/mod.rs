//! From assignments to plans: [`plan`] decides (pure), [`tick`] brings it into force, [`renewal`] does so when it is due
//! although nothing changed, [`follow`] when reports change it, as often as [`pace`] lets them,
//! [`assign`] what operators assign. [`past`] forgets old plans.

pub mod assign;
pub mod follow;
pub mod pace;
pub mod past;
pub mod plan;
pub mod renewal;
pub mod tick;
