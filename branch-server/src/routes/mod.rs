//! The handlers, one file a resource: read the request, call, answer. No SQL and no rules.

pub mod artifacts;
mod authentication;
pub mod console;
pub mod enrol;
pub mod identities;
pub mod kit;
pub mod metadata;
pub mod openapi;
pub mod terminals;

pub use authentication::TerminalCertificates;
