//! The branch's terminals: how they join, what they are told, and TLS towards them.

pub mod calls;
pub mod denied;
pub mod enrol;
pub mod identity;
pub mod join;
pub mod streams;
pub mod tls;
