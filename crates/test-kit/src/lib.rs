//! What tests need: throwaway PostgreSQL, daemons that end with the test, waiting by condition, faults on purpose, a
//! fleet's keys and certificates.
//!
//! For tests and the lab only. Nothing here may be linked into a program that ships, and nothing here may pretend to
//! be PostgreSQL or a daemon: it starts the real ones.

pub mod attacker;
mod cluster;
mod daemon;
mod database;
mod fleet;
mod openssl;
mod port;
mod proxy;
mod raw;
mod secret;
mod skip;
mod slots;
mod small_disk;
mod snapshot;
mod tls;
mod wait;

pub use cluster::{Cluster, ClusterError, PG_BIN, SHARED_CLUSTER};
pub use daemon::Daemon;
pub use database::TestDatabase;
pub use fleet::{TestFleet, TestMirror};
pub use openssl::{assert_only_new_tls, s_client};
pub use port::free_port;
pub use proxy::FaultProxy;
pub use raw::{RawAnswer, RawRequest};
pub use secret::write_secret;
pub use skip::skip;
pub use slots::FileSlots;
pub use small_disk::SmallDisk;
pub use snapshot::{Snapshot, snapshot};
pub use tls::{BranchKey, Leaf, TestBranch, TlsTunnel, connect_from, tls_from};
pub use wait::{wait_for, wait_for_blocking};
