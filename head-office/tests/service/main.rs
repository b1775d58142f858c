//! Head office inside the test: its routes, the life of a release, the planner, its database and hostile input.

#[path = "../support/mod.rs"]
mod support;

mod api;
mod db;
mod hostile;
mod hostile_archives;
mod intake;
mod releases;
mod rollout;
