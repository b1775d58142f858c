//! The lab: the whole of Filial on one machine, with real programs, real daemons and real networks.
//!
//! [`Lab::start`] lays out head office, a shaped WAN, branches and terminals in network namespaces of its own, and
//! starts PostgreSQL, transmission-daemon, opentracker and our three programs in them, configured as a person would.
//! Terminals have two slots in files and a bootloader that obeys the environment block and nothing else; or they are
//! virtual machines with real ones ([`LabOptions::vms`]). Tests bring
//! releases out ([`Lab::publish`], [`Lab::assign_all`]), break things by name ([`Lab::kill`], [`Lab::cut_wan`] …), wait
//! by condition ([`Lab::wait`], [`Lab::wait_terminals`]) and get a report that the lab checked itself ([`Lab::report`]).
//!
//! What this crate must never do: reach into a program under test (it speaks their APIs and reads their files), take
//! a program's word for what lies in a slot or an environment block, sleep for a fixed time and hope, or leave
//! anything behind: a process outside the lab removes what is left even if the lab is killed ([`undertake`]).

mod api;
mod claim;
mod clocks;
mod control;
mod daemon_rpc;
mod doors;
mod error;
mod exec;
mod false_tracker;
mod faults;
mod firewall;
mod images;
mod impostor;
mod inside;
mod lab;
mod machine;
mod net;
mod options;
mod part;
mod phases;
mod postgres;
mod proc;
mod process;
mod rate;
mod recipe;
mod releases;
mod report;
mod rollout;
mod secrets;
mod shipped;
mod sites;
mod start;
mod stranger_peer;
mod terminal;
mod trust;
mod vm;
mod volumes;
mod waiting;

pub use api::Api;
pub use claim::{Found, clean, found, undertake};
pub use control::{FAULTS, obey, order, serve};
pub use daemon_rpc::DaemonRpc;
pub use doors::Shut;
pub use error::LabError;
pub use false_tracker::{Lie, tell_lies};
pub use faults::Stranger;
pub use images::{SmallImage, build_debian_images, debian_image, image_version, small_image, source_root};
pub use impostor::Impostor;
pub use lab::Lab;
pub use machine::{Boot, BootEnv};
pub use net::{Counters, MAX_BRANCHES, MAX_TERMINALS, MAX_VMS};
pub use options::{Engine, ExtraConfig, Happening, LabOptions, Listener};
pub use part::{Part, Place, Role};
pub use phases::{Held, Journaled, Recorded};
pub use process::PartState;
pub use rate::{ParseRateError, Rate};
pub use releases::ReleaseSpec;
pub use report::{BranchFigures, Report, Run, Seconds, TerminalFigures, Transition};
pub use rollout::Glimpse;
pub use shipped::Shipped;
pub use stranger_peer::StrangerPeer;
pub use vm::{VmBoot, VmOptions};
pub use volumes::DiskSizes;
