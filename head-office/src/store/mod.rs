//! The artifacts and archives on disk: [`folders`], [`holds`] (who uses an artifact), [`budget`] (how much may lie there),
//! [`retention`] (what is removed), [`stock`] (disk and database compared).

pub mod budget;
pub mod folders;
pub mod holds;
pub mod retention;
pub mod stock;
