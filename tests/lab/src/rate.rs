//! The speed of a link.

use std::fmt;
use std::str::FromStr;

/// Bits per second, written as `tc` does: `50mbit`, `1gbit`, `800kbit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

/// Text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number and kbit, mbit or gbit, such as 50mbit; not {0:?}")]
pub struct ParseRateError(String);

impl Rate {
    /// So many millions of bits per second.
    pub const fn mbit(mbit: u64) -> Self {
        Self(mbit * 1_000_000)
    }

    /// So many thousands of bits per second.
    pub const fn kbit(kbit: u64) -> Self {
        Self(kbit * 1000)
    }

    /// Bits per second.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Bytes per second.
    pub const fn bytes(self) -> u64 {
        self.0 / 8
    }

    /// The bucket that a token bucket filter needs at this rate: a 250th of a second's bytes (the kernel's tick at
    /// 250 Hz), and never less than one offloaded packet.
    pub const fn burst(self) -> u64 {
        let tick = self.bytes() / 250;
        if tick > 65_536 { tick } else { 65_536 }
    }

    /// Seconds that so many bytes need at the least.
    pub fn floor_seconds(self, bytes: u64) -> f64 {
        // Sizes in a lab lie far below 2^52.
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let seconds = bytes as f64 / self.bytes().max(1) as f64;
        seconds
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            b if b % 1_000_000_000 == 0 => format!("{}gbit", b / 1_000_000_000),
            b if b % 1_000_000 == 0 => format!("{}mbit", b / 1_000_000),
            b if b % 1000 == 0 => format!("{}kbit", b / 1000),
            b => format!("{b}bit"),
        };
        f.pad(&text)
    }
}

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(s: &str) -> Result<Self, ParseRateError> {
        let bad = || ParseRateError(s.chars().take(32).collect());
        let units = [("kbit", 1000), ("mbit", 1_000_000), ("gbit", 1_000_000_000), ("bit", 1)];
        let (number, unit) =
            units.iter().find_map(|(name, unit)| Some((s.strip_suffix(name)?, *unit))).ok_or_else(bad)?;
        let bits = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(bad)?;
        // Below this a single packet takes longer than any deadline here.
        if !(8000..=100_000_000_000).contains(&bits) {
            return Err(bad());
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_round_trip() {
        for text in ["50mbit", "1gbit", "800kbit", "8001bit"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "50", "mbit", "-1mbit", "1.5mbit", "0mbit", "99999999999999999999mbit"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_bucket_lets_a_gigabit_through() {
        assert_eq!(Rate::mbit(50).burst(), 65_536);
        assert_eq!(Rate::mbit(1000).burst(), 500_000);
    }
}
