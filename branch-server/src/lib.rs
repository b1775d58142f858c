//! The branch server (филиальный сервер): mirrors what head office plans for this branch, tracks and seeds it for the
//! terminals while it arrives, hands them head office's plan verbatim, and relays their reports.
//!
//! It must never decide what a terminal runs (head office's plan does), change a plan, let a terminal speak to the
//! WAN's tracker, report in a terminal's name what that terminal did not say, or stop working because head office
//! cannot be reached.
//!
//! - [`start`] puts the parts together; [`background`] lists what runs in the background
//! - [`http`] the two listeners; [`app`] what their handlers use
//! - [`plan`] offers from head office or a kit: judged, accepted or refused
//! - [`artifacts`] plan accepted → decided → done
//! - [`reports`] from terminals in, to head office out
//! - [`operators`] who may come in, and the audit of what they change
//! - [`terminals`] how they join; [`view`] what the console shows of the branch
//! - [`upstream`] head office, and this server's identity there
//! - [`model`] values that tables and their users share
//! - [`config`] settings; [`metrics`] what Prometheus sees; [`db`] all SQL

pub mod app;
pub mod artifacts;
pub mod background;
pub mod config;
pub mod db;
pub mod housekeeping;
pub mod http;
pub mod metrics;
pub mod model;
pub mod operators;
pub mod plan;
pub mod reports;
pub mod signals;
pub mod start;
pub mod terminals;
pub mod text;
pub mod upstream;
pub mod view;

pub use start::{Deps, RunError, bootstrap, build, listeners, recover, run};
