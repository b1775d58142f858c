//! What every program of Filial is made of: settings in three stages, telemetry, the clock, durable files, child
//! processes, retries, errors as text, shutdown and an HTTP client; with feature `server` one route table per listener, and with feature `database`
//! PostgreSQL, jobs with leases and the outbox of events.
//!
//! This crate must never know a business rule: nothing here names a release, a branch's plan or a terminal's state. Of the
//! fleet it knows the roles of callers and the settings that every program shares. It holds no global besides the tracing
//! subscriber.

pub mod age;
pub mod background;
mod causes;
pub mod client;
pub mod clock;
pub mod config;
// The folder is called db/ because SQL stands only in folders of that name (invariant 9).
#[cfg(feature = "database")]
#[path = "db/mod.rs"]
pub mod database;
#[cfg(feature = "server")]
mod descriptors;
pub mod durable;
pub mod edge;
pub mod manual;
pub mod output;
pub mod process;
pub mod reserve;
pub mod retry;
pub mod room;
mod secret;
#[cfg(feature = "server")]
pub mod server;
pub mod shutdown;
pub mod steady;
pub mod telemetry;
pub mod token;
pub mod turns;
pub mod users;

pub use clock::{Clock, FixedClock, Stopwatch, SystemClock};
pub use secret::Secret;
pub use shutdown::Shutdown;
