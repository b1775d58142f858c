//! lab
mod claim;
mod error;
mod exec;
pub mod images;
mod machine;
mod net;
mod part;
mod postgres;
mod proc;
mod process;
mod rate;
