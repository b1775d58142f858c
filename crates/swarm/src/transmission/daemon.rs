//! The daemon's settings.json: one copy for the packages, Ansible and the lab.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::EngineRole;

/// Returns what else the daemon's command line says, besides where its configuration is (transmission-daemon(1)).
///
/// A branch's daemon starts with its torrents standing still, and the branch server starts them. One that was
/// killed has forgotten what it received since it last wrote that down (minutes, with 3.00): alone it would fetch
/// that over the WAN once more, while the server has it look at its disk first.
pub const fn daemon_arguments(role: EngineRole) -> &'static [&'static str] {
    match role {
        EngineRole::Branch => &["--paused"],
        EngineRole::HeadOffice | EngineRole::Terminal => &[],
    }
}

/// Whether peers encrypt (obfuscate) what they exchange. No substitute for the digests' check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encryption {
    /// Plain where the other side lets us: the cheapest.
    #[default]
    Tolerated,
    /// Encrypted where the other side can.
    Preferred,
    /// Encrypted or not at all.
    Required,
}

/// What differs between two daemons of one role.
#[derive(Clone, PartialEq, Eq)]
pub struct DaemonOptions {
    /// The RPC's port, on loopback only.
    pub rpc_port: u16,
    /// The RPC's user.
    pub rpc_user: String,
    /// The RPC's password in clear; the daemon replaces it by a salted hash when it stops.
    pub rpc_password: String,
    /// The port for peers, TCP.
    pub peer_port: u16,
    /// The address that peers are spoken to from and listened to on; 0.0.0.0 for all.
    pub bind_address: Ipv4Addr,
    /// Where content lies unless a torrent says otherwise, an absolute path.
    pub download_dir: PathBuf,
    /// Policy on encryption between peers.
    pub encryption: Encryption,
}

impl Default for DaemonOptions {
    /// Debian's ports and folder, every address, and no password: set one.
    fn default() -> Self {
        Self {
            rpc_port: 9091,
            rpc_user: "filial".into(),
            rpc_password: String::new(),
            peer_port: 51413,
            bind_address: Ipv4Addr::UNSPECIFIED,
            download_dir: PathBuf::from("/var/lib/transmission-daemon/downloads"),
            encryption: Encryption::default(),
        }
    }
}

impl std::fmt::Debug for DaemonOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonOptions")
            .field("rpc_port", &self.rpc_port)
            .field("rpc_user", &self.rpc_user)
            .field("peer_port", &self.peer_port)
            .field("bind_address", &self.bind_address)
            .field("download_dir", &self.download_dir)
            .field("encryption", &self.encryption)
            .finish_non_exhaustive()
    }
}

/// The settings.json of a transmission-daemon (3.00; newer ones know every key that matters here, and one more).
pub fn daemon_settings(role: EngineRole, options: &DaemonOptions) -> Value {
    let parts = [peers(options), content(options), policy(), rpc(options), per_role(role)];
    let entries = parts.into_iter().filter_map(|part| if let Value::Object(part) = part { Some(part) } else { None });
    Value::Object(entries.flatten().collect())
}

fn per_role(role: EngineRole) -> Value {
    match role {
        // Many branches at once, each over a thin link: more slots, shared fairly.
        EngineRole::HeadOffice => json!({
            "cache-size-mb": 64,
            "peer-limit-global": 400,
            "peer-limit-per-torrent": 100,
            "upload-slots-per-torrent": 24,
        }),
        EngineRole::Branch => json!({
            "cache-size-mb": 32,
            "peer-limit-global": 400,
            "peer-limit-per-torrent": 100,
            "upload-slots-per-torrent": 24,
        }),
        // No write cache: the agent reads pieces from the unfinished file as soon as they are reported as held.
        EngineRole::Terminal => json!({
            "cache-size-mb": 0,
            "peer-limit-global": 200,
            "peer-limit-per-torrent": 60,
            "upload-slots-per-torrent": 14,
        }),
    }
}

/// Peers: TCP, known from our trackers only.
fn peers(options: &DaemonOptions) -> Value {
    let encryption = match options.encryption {
        Encryption::Tolerated => 0,
        Encryption::Preferred => 1,
        Encryption::Required => 2,
    };
    // opentracker knows IPv4 only, so no peer would find us on IPv6. But 3.00 announces from its IPv6 address if only
    // that one is set, and then reaches no IPv4 tracker: with no address of our own, it must have none at all.
    let ipv6 = if options.bind_address.is_unspecified() { "::" } else { "::1" };
    json!({
        "bind-address-ipv4": options.bind_address.to_string(),
        "bind-address-ipv6": ipv6,
        "peer-port": options.peer_port,
        "peer-port-random-on-start": false,
        "port-forwarding-enabled": false,
        "utp-enabled": false,
        "dht-enabled": false,
        "pex-enabled": false,
        "lpd-enabled": false,
        "encryption": encryption,
        "blocklist-enabled": false,
    })
}

/// Content: under its own name from the start, readable by the group, verified whenever it is added.
fn content(options: &DaemonOptions) -> Value {
    json!({
        "download-dir": options.download_dir,
        "incomplete-dir-enabled": false,
        "rename-partial-files": false,
        "preallocation": 1,
        "prefetch-enabled": true,
        "umask": 0o027,
        "watch-dir-enabled": false,
        "trash-original-torrent-files": false,
        "script-torrent-done-enabled": false,
        // 4.x would otherwise take content that is there already on trust; 3.00 always verifies it.
        "torrent-added-verify-mode": "full",
    })
}

/// The programs decide what is fetched, how fast, and for how long it is served: nothing here may hold a torrent back.
fn policy() -> Value {
    json!({
        "start-added-torrents": true,
        "download-queue-enabled": false,
        "seed-queue-enabled": false,
        "queue-stalled-enabled": false,
        "ratio-limit-enabled": false,
        "idle-seeding-limit-enabled": false,
        "alt-speed-enabled": false,
        "alt-speed-time-enabled": false,
        "speed-limit-down-enabled": false,
        "speed-limit-up-enabled": false,
        "scrape-paused-torrents-enabled": false,
        "message-level": 1,
    })
}

/// RPC: this machine only, with a password.
fn rpc(options: &DaemonOptions) -> Value {
    json!({
        "rpc-enabled": true,
        "rpc-bind-address": "127.0.0.1",
        "rpc-port": options.rpc_port,
        "rpc-url": "/transmission/",
        "rpc-authentication-required": true,
        "rpc-username": options.rpc_user,
        "rpc-password": options.rpc_password,
        "rpc-whitelist-enabled": true,
        "rpc-whitelist": "127.0.0.1",
        "rpc-host-whitelist-enabled": true,
        "rpc-host-whitelist": "localhost",
    })
}

/// Why settings.json was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The daemon runs and would overwrite them when it stops.
    #[error("a daemon answers at {address}: stop it first, it overwrites {} when it stops", path.display())]
    Running {
        /// The RPC's address.
        address: SocketAddr,
        /// The file.
        path: PathBuf,
    },
    /// Writing failed.
    #[error("writing {} failed", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes `settings` as settings.json into the daemon's configuration folder, atomically, for the folder's owner only
/// (it holds the password). Blocking.
///
/// # Errors
/// If something listens at the RPC's address of these settings: a running daemon would overwrite the file.
pub fn write_daemon_settings(config_dir: &Path, settings: &Value) -> Result<(), SettingsError> {
    let path = config_dir.join("settings.json");
    let port = settings.get("rpc-port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    if let Some(port) = port {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
            return Err(SettingsError::Running { address, path });
        }
    }
    write_private(config_dir, &path, settings).map_err(|source| SettingsError::Write { path, source })
}

fn write_private(folder: &Path, path: &Path, settings: &Value) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".settings.").tempfile_in(folder)?;
    serde_json::to_writer_pretty(&mut file, settings)?;
    file.write_all(b"\n")?;
    file.as_file().set_permissions(Permissions::from_mode(0o600))?;
    // The daemon rewrites the file, so it must own it: it owns its folder.
    let owner = std::fs::metadata(folder)?;
    std::os::unix::fs::fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_no_write_cache_and_servers_have_one() {
        let cache = |role| daemon_settings(role, &DaemonOptions::default())["cache-size-mb"].as_u64();
        assert_eq!(cache(EngineRole::Terminal), Some(0));
        assert!(cache(EngineRole::Branch) >= Some(32) && cache(EngineRole::HeadOffice) >= Some(32));
    }

    #[test]
    fn a_daemon_without_an_address_of_its_own_announces_over_ipv4() {
        let of = |bind_address| {
            let options = DaemonOptions { bind_address, ..DaemonOptions::default() };
            daemon_settings(EngineRole::Branch, &options)["bind-address-ipv6"].clone()
        };
        assert_eq!((of(Ipv4Addr::UNSPECIFIED), of(Ipv4Addr::new(10, 0, 0, 7))), ("::".into(), "::1".into()));
    }

    #[test]
    fn options_reach_the_settings_and_the_password_not_the_log() {
        let options = DaemonOptions {
            rpc_port: 9099,
            rpc_password: "hush-hush".into(),
            peer_port: 5000,
            bind_address: Ipv4Addr::new(10, 0, 0, 7),
            encryption: Encryption::Required,
            ..DaemonOptions::default()
        };
        let settings = daemon_settings(EngineRole::Branch, &options);
        assert_eq!((&settings["rpc-port"], &settings["peer-port"]), (&9099.into(), &5000.into()));
        assert_eq!((&settings["bind-address-ipv4"], &settings["encryption"]), (&"10.0.0.7".into(), &2.into()));
        assert_eq!(settings["rpc-password"], "hush-hush");
        assert!(!format!("{options:?}").contains("hush-hush"));
    }
}
