//! The crate as its callers use it: attacks, certificates, handshakes, updates, plans, and the repository.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod client;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod handshakes;
#[cfg(test)]
mod listener;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod plan_attacks;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod repository;
