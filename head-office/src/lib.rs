//! Head office: takes update archives in, judges them, publishes them as artifacts and torrents, knows the fleet, and
//! says by plans which branch runs what.
//!
//! It must never publish what a rule failed or could not judge, never tell a branch of an artifact before it is listed
//! and seeded, and never keep in memory alone what others rely on: the process may be killed at any instant.

mod adapters;
mod alerts;
pub mod app;
mod background;
pub mod config;
pub mod db;
mod fleet;
pub mod http;
mod intake;
mod metrics;
mod releases;
pub mod rollout;
mod seeding;
pub mod start;
mod stock;
mod store;
pub mod trust;

pub use config::Settings;
pub use start::{Deps, RunError, Running, bootstrap, recover, run, start};
