//! Hosts of addresses, and the IP addresses of hosts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::measures::MAX_CANDIDATES;

/// Returns the host of an address such as `http://10.0.0.1:6969/announce`.
pub fn host_of(url: &str) -> Option<String> {
    reqwest::Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// Returns the addresses of hosts, by name or number; what cannot be resolved is left out.
pub(crate) async fn addresses_of(hosts: &[String]) -> BTreeSet<IpAddr> {
    let mut addresses = BTreeSet::new();
    for host in hosts {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match tokio::net::lookup_host((bare, 0)).await {
            Ok(found) => addresses.extend(found.take(MAX_CANDIDATES).map(|a| a.ip().to_canonical())),
            Err(error) => tracing::debug!(%error, host, "not resolved"),
        }
    }
    addresses
}
