//! The branch's terminals: how they join, what they are told, what the console shows of them, and TLS towards them.

pub mod calls;
pub mod enrol;
pub mod identity;
pub mod join;
pub mod streams;
pub mod tls;
pub mod view;
