//! opentracker's configuration, and the firewall of its port and of the peers': the templates of opentracker-conf/,
//! filled in.
//!
//! Ansible, the packages and the lab all use these files, so there is one copy.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

const HEAD_OFFICE: &str = include_str!("../../../../opentracker-conf/head-office.conf");
const BRANCH: &str = include_str!("../../../../opentracker-conf/branch.conf");
const TRACKER_FIREWALL: &str = include_str!("../../../../opentracker-conf/tracker.nft");
const PEER_FIREWALL: &str = include_str!("../../../../opentracker-conf/peers.nft");

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

/// The nftables rules (for `nft -f`) that let only these subnets, each an address and a prefix length, and this
/// machine announce at `port`, and refuse every other request.
///
/// # Errors
/// If there are no subnets, or a prefix is longer than 32.
pub fn render_tracker_firewall(port: u16, sources: &[(Ipv4Addr, u8)]) -> Result<String, ConfError> {
    let sources = subnets(sources, "no machine could announce")?;
    Ok(TRACKER_FIREWALL.replace("@PORT@", &port.to_string()).replace("@SOURCES@", &sources))
}

/// The nftables rules (for `nft -f`) that let only these subnets, each an address and a prefix length, exchange pieces
/// with the BitTorrent daemon at `port`, in both directions.
///
/// # Errors
/// If there are no subnets, or a prefix is longer than 32.
pub fn render_peer_firewall(port: u16, peers: &[(Ipv4Addr, u8)]) -> Result<String, ConfError> {
    let peers = subnets(peers, "there would be no peer")?;
    Ok(PEER_FIREWALL.replace("@PORT@", &port.to_string()).replace("@PEERS@", &peers))
}

/// Each once, in the form that nft reads.
fn subnets(given: &[(Ipv4Addr, u8)], none: &'static str) -> Result<String, ConfError> {
    if given.is_empty() {
        return Err(ConfError { what: "no subnets".into(), why: none });
    }
    let subnet = |(address, prefix): &(Ipv4Addr, u8)| match 32u32.checked_sub(u32::from(*prefix)) {
        // Without the bits of the host: nft refuses overlapping spellings of one subnet.
        Some(host) => {
            Ok(format!("{}/{prefix}", Ipv4Addr::from(address.to_bits() & u32::MAX.checked_shl(host).unwrap_or(0))))
        }
        None => Err(ConfError { what: format!("{address}/{prefix}"), why: "a prefix is at most 32 bits long" }),
    };
    let mut subnets: Vec<String> = given.iter().map(subnet).collect::<Result<_, _>>()?;
    subnets.sort();
    subnets.dedup();
    Ok(subnets.join(", "))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn conf() -> TrackerConf {
        TrackerConf {
            role: TrackerRole::Branch,
            listen: vec!["192.168.1.1:6969".parse().unwrap(), "127.0.0.1:6969".parse().unwrap()],
            access_list: "/var/lib/filial-tracker/access.list".into(),
            user: "nobody".into(),
        }
    }

    #[test]
    fn the_templates_are_filled_in_whole() {
        for role in [TrackerRole::HeadOffice, TrackerRole::Branch] {
            let text = render_conf(&TrackerConf { role, ..conf() }).unwrap();
            let set: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
            assert_eq!(
                set,
                [
                    "listen.tcp 192.168.1.1:6969",
                    "listen.tcp 127.0.0.1:6969",
                    "access.whitelist /var/lib/filial-tracker/access.list",
                    "tracker.user nobody",
                ]
            );
        }
    }

    #[test]
    fn a_value_that_would_become_another_line_or_open_the_tracker_is_refused() {
        for path in ["relative", "", "/a b", "/a\nlisten.udp 0.0.0.0", "/@USER@"] {
            assert!(render_conf(&TrackerConf { access_list: path.into(), ..conf() }).is_err(), "{path:?}");
        }
        assert!(render_conf(&TrackerConf { user: "a b".into(), ..conf() }).is_err());
        assert!(render_conf(&TrackerConf { listen: vec![], ..conf() }).is_err());
    }

    #[test]
    fn the_firewalls_name_each_subnet_once() {
        let sources =
            [("10.1.2.3".parse().unwrap(), 16), ("10.1.0.0".parse().unwrap(), 16), ("0.0.0.0".parse().unwrap(), 0)];
        for render in [render_tracker_firewall, render_peer_firewall] {
            let text = render(6969, &sources).unwrap();
            assert!(text.contains("elements = { 0.0.0.0/0, 10.1.0.0/16 }"), "{text}");
            assert!(text.contains("tcp dport 6969 drop"), "{text}");
            assert!(["@PORT@", "@SOURCES@", "@PEERS@"].iter().all(|place| !text.contains(place)), "{text}");
            assert!(render(6969, &[]).is_err());
            assert!(render(6969, &[("10.0.0.0".parse().unwrap(), 33)]).is_err());
        }
    }
}
