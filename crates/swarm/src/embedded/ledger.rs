//! Bytes by source: exact counts for a bounded number of addresses, and the addresses that are refused. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Most addresses that are counted apart. The bytes of further ones are counted together.
pub(crate) const MAX_SOURCES: usize = 1024;
/// Most addresses that are refused; further ones take the place of the oldest.
pub(crate) const MAX_REFUSED: usize = 256;

/// What passed between us and an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Source {
    /// Payload bytes received from it, corrupt ones included.
    pub received: u64,
    /// Payload bytes sent to it.
    pub sent: u64,
    /// Bytes received that do not belong to the torrent, for certain.
    pub corrupt: u64,
    /// How often a connection with it was refused.
    pub refused: u64,
}

/// The bytes of an engine by address.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sources: BTreeMap<IpAddr, Source>,
    others: Source,
    /// In the order in which they were blamed.
    refused: Vec<IpAddr>,
}

impl Ledger {
    fn source(&mut self, address: IpAddr) -> &mut Source {
        let address = address.to_canonical();
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&address) {
            return &mut self.others;
        }
        self.sources.entry(address).or_default()
    }

    /// Counts bytes received.
    pub(crate) fn received(&mut self, address: IpAddr, bytes: u64) {
        self.source(address).received += bytes;
    }

    /// Counts bytes sent.
    pub(crate) fn sent(&mut self, address: IpAddr, bytes: u64) {
        self.source(address).sent += bytes;
    }

    /// Counts bytes that do not belong to the torrent, and refuses the address from now on.
    pub(crate) fn blame(&mut self, address: IpAddr, bytes: u64) {
        self.source(address).corrupt += bytes;
        let address = address.to_canonical();
        if !self.refused.contains(&address) {
            if self.refused.len() >= MAX_REFUSED {
                self.refused.remove(0);
            }
            self.refused.push(address);
        }
    }

    /// Whether the address is refused.
    pub(crate) fn refuses(&self, address: IpAddr) -> bool {
        !self.refused.is_empty() && self.refused.contains(&address.to_canonical())
    }

    /// Counts a connection that was refused.
    pub(crate) fn refused(&mut self, address: IpAddr) {
        self.source(address).refused += 1;
    }

    /// The addresses that are counted apart, and the sum of all others.
    pub(crate) fn all(&self) -> (Vec<(IpAddr, Source)>, Source) {
        (self.sources.iter().map(|(address, source)| (*address, *source)).collect(), self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    #[test]
    fn bytes_are_exact_and_the_number_of_addresses_is_bounded() {
        let mut ledger = Ledger::default();
        for n in 0..5000 {
            ledger.received(address(n), 7);
            ledger.sent(address(n), 3);
            ledger.refused(address(n));
        }
        let (sources, others) = ledger.all();
        assert_eq!(sources.len(), MAX_SOURCES);
        let sum = |part: fn(&Source) -> u64| sources.iter().map(|(_, s)| part(s)).sum::<u64>() + part(&others);
        assert_eq!((sum(|s| s.received), sum(|s| s.sent), sum(|s| s.refused)), (35_000, 15_000, 5000));
        assert!(sources.iter().all(|(_, source)| source.received == 7));
    }

    #[test]
    fn a_blamed_address_is_refused_in_either_spelling() {
        let mut ledger = Ledger::default();
        assert!(!ledger.refuses(address(1)));
        ledger.blame(address(1), 100);
        ledger.blame(address(1), 100);
        let mapped: IpAddr = "::ffff:0.0.0.1".parse().unwrap();
        assert!(ledger.refuses(address(1)) && ledger.refuses(mapped) && !ledger.refuses(address(2)));
        assert_eq!(ledger.all().0[0].1.corrupt, 200);
    }

    #[test]
    fn the_list_of_refused_addresses_is_bounded() {
        let mut ledger = Ledger::default();
        for n in 0..=u32::try_from(MAX_REFUSED).unwrap() {
            ledger.blame(address(n), 1);
        }
        assert!(!ledger.refuses(address(0)) && ledger.refuses(address(1)) && ledger.refused.len() == MAX_REFUSED);
    }
}
