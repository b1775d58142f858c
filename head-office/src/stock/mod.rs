//! What the store holds: [`budget`] (how much may lie there), [`retention`] (what is removed from tracker, daemon and disk),
//! [`taking`] (disk and database compared).

pub mod budget;
pub mod retention;
pub mod taking;
