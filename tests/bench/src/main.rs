//! Ratios against named peers and limits.
fn main() {}
