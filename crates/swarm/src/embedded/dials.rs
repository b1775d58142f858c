//! Which known addresses to dial, and when again. Pure.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use service_kit::retry::bound_after;

/// Most addresses that are known for one torrent.
pub(crate) const MAX_KNOWN: usize = 256;
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Known {
    failures: u32,
    at: Duration,
    dialling: bool,
    /// It is ours.
    own: bool,
}

/// The addresses that trackers named.
#[derive(Debug, Default)]
pub(crate) struct Dials(BTreeMap<SocketAddrV4, Known>);

impl Dials {
    /// Notes addresses. If there are too many, new ones take the places of those that failed most.
    pub(crate) fn learn(&mut self, addresses: impl IntoIterator<Item = SocketAddrV4>, now: Duration) {
        for address in addresses.into_iter().filter(|address| address.port() != 0) {
            if self.0.contains_key(&address) {
                continue;
            }
            if self.0.len() >= MAX_KNOWN {
                let worst =
                    self.0.iter().filter(|(_, k)| !k.dialling && k.failures > 0).max_by_key(|(_, k)| k.failures);
                let Some(worst) = worst.map(|(address, _)| *address) else { continue };
                self.0.remove(&worst);
            }
            self.0.insert(address, Known { at: now, ..Known::default() });
        }
    }

    /// Returns up to `room` addresses to dial now, and notes that they are dialled. `connected` counts the connections with a host;
    /// a host with as many as it has known addresses is left alone, since an incoming connection does not tell which it is.
    pub(crate) fn due(
        &mut self,
        now: Duration,
        room: usize,
        connected: impl Fn(Ipv4Addr) -> usize,
    ) -> Vec<SocketAddrV4> {
        let mut of_host: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
        for (address, known) in &self.0 {
            *of_host.entry(*address.ip()).or_default() += usize::from(!known.own);
        }
        let mut due = Vec::new();
        for (address, known) in &mut self.0 {
            if due.len() >= room {
                break;
            }
            let wanted = of_host.get(address.ip()).is_some_and(|count| connected(*address.ip()) < *count);
            if wanted && !known.own && !known.dialling && known.at <= now {
                known.dialling = true;
                due.push(*address);
            }
        }
        due
    }

    /// Notes that a dialled connection stands.
    pub(crate) fn reached(&mut self, address: SocketAddrV4) {
        if let Some(known) = self.0.get_mut(&address) {
            known.dialling = true;
        }
    }

    /// Notes that dialling failed, or that a dialled connection ended; after a short one the pause grows.
    pub(crate) fn ended(&mut self, address: SocketAddrV4, failed: bool, now: Duration) {
        if let Some(known) = self.0.get_mut(&address) {
            known.dialling = false;
            known.failures = if failed { known.failures.saturating_add(1) } else { 0 };
            known.at = now + bound_after(known.failures.max(1), FIRST, LONGEST);
        }
    }

    /// Notes that an address is ours.
    pub(crate) fn own(&mut self, address: SocketAddrV4) {
        if let Some(known) = self.0.get_mut(&address) {
            (known.own, known.dialling) = (true, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port)
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn an_address_that_fails_is_dialled_less_and_less_often() {
        let mut dials = Dials::default();
        dials.learn([address(1, 1), address(1, 0)], Duration::ZERO);
        let (mut now, mut pauses) = (Duration::ZERO, Vec::new());
        for _ in 0..9 {
            let begin = now;
            while dials.due(now, 9, |_| 0).is_empty() {
                now += S;
            }
            pauses.push((now - begin).as_secs());
            assert!(dials.due(now + S * 1000, 9, |_| 0).is_empty(), "one attempt at a time");
            dials.ended(address(1, 1), true, now);
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        while dials.due(now, 9, |_| 0).is_empty() {
            now += S;
        }
        dials.reached(address(1, 1));
        dials.ended(address(1, 1), false, now);
        assert_eq!(dials.due(now + S, 9, |_| 0), [address(1, 1)], "a connection that was good begins again");
    }

    #[test]
    fn a_host_that_is_connected_is_left_alone() {
        let mut dials = Dials::default();
        dials.learn([address(1, 1), address(1, 2), address(2, 1), address(3, 1)], S);
        dials.own(address(3, 1));
        assert_eq!(dials.due(S, 1, |_| 0), [address(1, 1)], "no more than there is room for");
        assert_eq!(dials.due(S, 9, |host| usize::from(host.octets()[3] == 2)), [address(1, 2)]);
        assert_eq!(dials.due(S, 9, |_| 0), [address(2, 1)]);
    }

    #[test]
    fn known_addresses_are_bounded_and_the_worst_leave_first() {
        let mut dials = Dials::default();
        dials.learn((1..=300).map(|port| address(1, port)), S);
        assert_eq!(dials.0.len(), MAX_KNOWN);
        dials.learn([address(9, 1)], S);
        assert!(!dials.0.contains_key(&address(9, 1)), "none of them failed");
        dials.ended(address(1, 7), true, S);
        dials.learn([address(9, 1)], S);
        assert!(dials.0.contains_key(&address(9, 1)) && !dials.0.contains_key(&address(1, 7)));
    }
}
