//! The end-to-end tests in labs of network namespaces, one module a promise.

mod attacks;
mod cuts;
mod deaths;
mod kit;
mod matrix;
mod packages;
mod peers;
mod poison;
mod publishing;
mod reach;
mod rotations;
mod size;
mod streaming;
mod trackers;
mod versions;
