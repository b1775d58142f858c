//! What is served to branches: [`tracker`] (its access list), [`seeder`] (artifacts in the BitTorrent daemon) and [`upkeep`]
//! (both in step with the database, and what [`lonely`] says is announced again).

pub mod lonely;
pub mod seeder;
pub mod tracker;
pub mod upkeep;
