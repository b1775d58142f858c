//! The branch's plan: offered by head office or brought by a kit, judged by signed metadata, kept as it was signed.

pub mod consider;
pub mod judge;
pub mod kit;
pub mod metadata;
pub mod poll;
