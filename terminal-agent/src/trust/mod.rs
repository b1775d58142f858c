//! What is proven: signed metadata in a trust store, and the plan that was accepted by it. The agent and the root helper each
//! have their own, in separate folders.

pub mod accepted;
pub mod believed;
