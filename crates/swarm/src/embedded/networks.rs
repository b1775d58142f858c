//! IPv4 networks: which addresses are upstream, and which may be dialled.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// An IPv4 network, such as `10.0.0.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: u32,
    mask: u32,
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IPv4 network: write it as ADDRESS/BITS, for example 10.0.0.0/24")]
pub struct NetworkError(String);

impl Network {
    /// The network of the first `bits` bits of `address`; more than 32 are taken as 32.
    pub fn new(address: Ipv4Addr, bits: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
        Self { base: address.to_bits() & mask, mask }
    }

    /// Whether `address` lies in it. An IPv6 address does only if it maps an IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => address.to_bits() & self.mask == self.base,
            IpAddr::V6(_) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.chars().take(60).collect());
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let bits = bits.parse::<u8>().ok().filter(|bits| *bits <= 32).ok_or_else(wrong)?;
        Ok(Self::new(address, bits))
    }
}

/// Whether any of `networks` contains `address`.
pub(crate) fn contain(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses_and_no_other() {
        let network: Network = "10.1.2.77/24".parse().unwrap();
        for (address, inside) in [("10.1.2.0", true), ("10.1.2.255", true), ("10.1.3.0", false), ("::1", false)] {
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
        let all: Network = "0.0.0.0/0".parse().unwrap();
        let single: Network = "10.0.0.1".parse().unwrap();
        assert!(all.contains("255.1.2.3".parse().unwrap()) && !single.contains("10.0.0.2".parse().unwrap()));
        assert!(contain(&[single, network], "10.1.2.9".parse().unwrap()) && !contain(&[], "10.1.2.9".parse().unwrap()));
    }

    #[test]
    fn a_text_that_is_not_a_network_is_refused_with_an_example() {
        for text in ["10.0.0.0/33", "10.0.0/8", "host/8", "10.0.0.0/-1", "fe80::/10", ""] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains("10.0.0.0/24"), "{error}");
        }
    }
}
