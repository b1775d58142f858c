//! The slot that does not run: observed, decided on, acted on.

pub mod act;
pub mod context;
pub mod decide;
pub mod evidence;
pub mod health;
pub mod observe;
pub mod outcome;
pub mod record;
pub mod turn;
pub mod verdicts;
