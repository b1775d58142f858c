//! The early records of boots.

use fleet_types::Slot;

/// What the slot's initramfs kept of a boot before init was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlyRecord {
    /// Which boot.
    pub boot_id: String,
    /// The slot that was booted.
    pub slot: Slot,
    /// Whether it was on trial.
    pub trial: bool,
    /// One more with each boot of the machine.
    pub seq: u64,
    /// The end of what the kernel had logged.
    pub log: Vec<u8>,
}

impl EarlyRecord {
    /// Parses a record: a line `filial-boot 1 slot=B boot_id=… trial=1 seq=7`, then the log.
    ///
    /// `None` if it is invalid, as after a power cut while it was written, or of a later format. Words that are not
    /// known are ignored.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
        let (head, log) = (std::str::from_utf8(&bytes[..end]).ok()?, bytes.get(end + 1..).unwrap_or_default());
        let facts = head.strip_prefix("filial-boot 1 ")?;
        let fact = |name: &str| facts.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let boot_id = fact("boot_id").filter(|id| is_boot_id(id))?.to_owned();
        let (slot, seq) = (fact("slot")?.parse().ok()?, fact("seq")?.parse().ok()?);
        Some(Self { boot_id, slot, trial: fact("trial") == Some("1"), seq, log: log.to_owned() })
    }
}

/// Whether this is the kernel's id of a boot, with dashes or without.
pub fn is_boot_id(id: &str) -> bool {
    let digits = id.bytes().filter(|b| *b != b'-').count();
    digits == 32 && id.len() <= 36 && id.bytes().all(|b| matches!(b, b'-' | b'0'..=b'9' | b'a'..=b'f'))
}
