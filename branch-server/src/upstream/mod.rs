//! Head office: the trait, its HTTP client, and this server's identity there.

pub mod client;
pub mod head_office;
pub mod identity;
