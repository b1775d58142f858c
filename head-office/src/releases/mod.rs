//! Releases at head office, from the first byte of an archive to the last byte of its artifacts.
//!
//! Arriving: [`uploads`] (files that grow durably), [`room`] for them, [`arriving`] (how
//! uploads begin, expire and end), [`upkeep`] (abandoned uploads, leftover archives). Judging: [`validate`] (the job),
//! [`ingest`] (one pass, then the rules), [`facts`], [`freeze`], [`gate`] (what a release waits for), [`approve`],
//! [`signing`]. Going out: [`publish`] (the job), [`encode`], [`meter`] (progress), [`vouching`] (releases and signed
//! metadata in step), [`withdraw`]. [`moves`] has the states, [`view`] what operators see.

pub mod approve;
pub mod arriving;
pub mod encode;
pub mod facts;
pub mod freeze;
pub mod gate;
pub mod ingest;
pub mod meter;
pub mod moves;
pub mod publish;
pub mod room;
pub mod signing;
pub mod upkeep;
pub mod uploads;
pub mod validate;
pub mod view;
pub mod vouching;
pub mod withdraw;
