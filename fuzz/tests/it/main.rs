//! The campaign, memory bounds, and properties that need several crates.

#[cfg(test)]
mod campaign;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod properties;
