//! Looks at the packages, and changes nothing.

use std::time::Duration;

use super::decide::{AT_ONCE, PackageSeen, PackageTransfer, is_in_hand};
use super::place::Place;
use crate::config::agent::Settings;
use crate::memory::journal::Journal;
use crate::memory::retries::Retries;
use crate::model::package::Package;
use crate::model::seen::Known;
use crate::ports::Ports;
use crate::swarm::peers::TorrentLook;
use crate::swarm::transfer;

/// A package as it stands, and the look at its torrent.
///
/// The look is judged before a decision is made.
pub type Look = (PackageSeen, Option<TorrentLook>);

/// Looks at all packages, and at the torrents of those that are being fetched.
pub async fn observe(ports: &Ports, settings: &Settings, journal: &Journal, retries: &Retries) -> Vec<Look> {
    let uptime = ports.clock.uptime();
    let mut looks = Vec::with_capacity(journal.packages.len());
    let mut looked = 0;
    for package in journal.packages.values() {
        let retry_in = retries.left(&package.key(), uptime);
        let unpacked = Place::of(&settings.paths.data_dir, package).holds(&package.payload.sha256);
        let mut seen = PackageSeen {
            package: package.clone(),
            unpacked,
            transfer: Known::Unknown("not looked at".to_owned()),
            retry_in,
        };
        let mut torrent = None;
        if is_worth_a_look(package, unpacked, retry_in) && looked < AT_ONCE {
            looked += 1;
            (seen.transfer, torrent) = look_at_torrent(ports, settings, package).await;
        }
        looks.push((seen, torrent));
    }
    looks
}

fn is_worth_a_look(package: &Package, unpacked: bool, retry_in: Duration) -> bool {
    is_in_hand(package) && package.prepared && !unpacked && retry_in.is_zero()
}

async fn look_at_torrent(
    ports: &Ports,
    settings: &Settings,
    package: &Package,
) -> (Known<Option<PackageTransfer>>, Option<TorrentLook>) {
    match transfer::look(ports, settings, &package.artifact).await {
        Known::Is(Some(look)) => {
            let status = look.status();
            let (complete, have_bytes, trouble) = (status.complete, status.have_bytes, status.trouble.clone());
            (Known::Is(Some(PackageTransfer { complete, have_bytes, trouble })), Some(look))
        }
        Known::Is(None) => (Known::Is(None), None),
        Known::Unknown(why) => (Known::Unknown(why), None),
    }
}
