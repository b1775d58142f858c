//! opentracker's configuration: the templates of opentracker-conf/, filled in.
//!
//! Ansible, the packages and the lab all use these files, so there is one copy.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

const HEAD_OFFICE: &str = include_str!("../../../../opentracker-conf/head-office.conf");
const BRANCH: &str = include_str!("../../../../opentracker-conf/branch.conf");

/// Whose tracker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackerRole {
    /// Head office's: branch servers announce to it over the WAN.
    HeadOffice,
    /// A branch's: its terminals and its own server announce to it.
    Branch,
}

/// What differs between two trackers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerConf {
    /// Whose it is.
    pub role: TrackerRole,
    /// The addresses it listens on, TCP only. This build of opentracker knows IPv4 only.
    pub listen: Vec<SocketAddrV4>,
    /// The access list, an absolute path.
    pub access_list: PathBuf,
    /// The user it becomes when started as root.
    pub user: String,
}

/// Why a configuration cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("opentracker's configuration cannot have {what}: {why}")]
pub struct ConfError {
    what: String,
    why: &'static str,
}

/// The text of opentracker's configuration file.
///
/// # Errors
/// If a value cannot stand in that file: opentracker's own reader takes a line up to its end and reports nothing.
pub fn render_conf(conf: &TrackerConf) -> Result<String, ConfError> {
    let list = word(&conf.access_list)?;
    if !conf.access_list.is_absolute() {
        return Err(ConfError { what: list, why: "the access list needs an absolute path" });
    }
    let user = word(Path::new(&conf.user))?;
    if conf.listen.is_empty() {
        return Err(ConfError { what: "no address".into(), why: "it would listen on every one, on UDP too" });
    }
    let listen: Vec<String> = conf.listen.iter().map(|address| format!("listen.tcp {address}")).collect();
    let template = match conf.role {
        TrackerRole::HeadOffice => HEAD_OFFICE,
        TrackerRole::Branch => BRANCH,
    };
    Ok(template.replace("@LISTEN@", &listen.join("\n")).replace("@ACCESS_LIST@", &list).replace("@USER@", &user))
}

fn word(value: &Path) -> Result<String, ConfError> {
    let what = value.to_string_lossy().into_owned();
    match value.to_str() {
        Some(text) if !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@') => {
            Ok(what)
        }
        _ => Err(ConfError { what, why: "it must be one word in UTF-8" }),
    }
}
