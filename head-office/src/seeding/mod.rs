//! What is served to branches: [`tracker`] (its access list), [`seed`] and [`upkeep`] (the BitTorrent daemon).

pub mod renewals;
pub mod seed;
pub mod tracker;
pub mod upkeep;
