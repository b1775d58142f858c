//! opentracker: which torrents it accepts, asking it, and its configuration.

mod access_list;
pub(crate) mod announce;
mod conf;

pub use access_list::{AccessList, AccessListError, AccessListSettings, Reload};
pub use announce::{AnnounceError, Announced, Announcement, Event, announce};
pub use conf::{ConfError, TrackerConf, TrackerRole, render_conf, render_peer_firewall, render_tracker_firewall};
