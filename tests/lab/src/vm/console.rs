//! What a virtual machine says on its serial console: firmware, bootloader, kernel and systemd, in one growing file.
//!
//! The file holds the bytes as they came. A position in it is a number of those bytes, so that a wait can begin where
//! another ended; what is looked for is found in the text without the control sequences of a terminal.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fleet_types::Slot;

use crate::error::LabError;

/// How the bootloader says which slot it takes, on trial or not; the slot follows.
const TRYING: &str = "filial: trying slot ";
const STARTING: &str = "filial: starting slot ";
/// How it says that it could not load a slot: the slot stands between.
const CANNOT: (&str, &str) = ("filial: slot ", " cannot be started");
/// The most that is read at once, in bytes: some hundred boots.
const MOST: u64 = 64 << 20;

/// A boot, or an attempt at one, as the bootloader announced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmBoot {
    /// The slot.
    pub slot: Slot,
    /// Whether it is on trial.
    pub trial: bool,
    /// Whether the slot could be loaded, as far as the bootloader got.
    pub started: bool,
    /// Where in the console's file it says so.
    pub at: u64,
}

impl std::fmt::Display for VmBoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = if self.trial { "on trial" } else { "by default" };
        write!(f, "{} slot {} {how}", if self.started { "boots" } else { "cannot boot" }, self.slot)
    }
}

/// A stretch of the console as text.
#[derive(Debug, Default)]
pub(crate) struct Text {
    /// Without control sequences.
    plain: Vec<u8>,
    /// Where each byte of it stands in the file.
    at: Vec<u64>,
}

impl Text {
    /// The console from a position on. A machine that never ran has said nothing.
    pub(crate) fn read(path: &Path, since: u64) -> Result<Self, LabError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(LabError::file("open", path)(e)),
        };
        let length = file.metadata().map_err(LabError::file("look at", path))?.len();
        let wanted = usize::try_from(length.saturating_sub(since).min(MOST)).unwrap_or(0);
        let mut bytes = vec![0; wanted];
        file.read_exact_at(&mut bytes, since).map_err(LabError::file("read", path))?;
        Ok(Self::of(&bytes, since))
    }

    fn of(bytes: &[u8], since: u64) -> Self {
        let mut text = Self::default();
        let mut rest = (since..).zip(bytes.iter().copied());
        while let Some((at, byte)) = rest.next() {
            match byte {
                // The firmware goes to a line of the screen instead of ending one.
                0x1b if is_move(rest.by_ref().map(|(_, b)| b)) => text.push(b'\n', at),
                b'\n' | b'\t' | 0x20..=0x7e | 0x80.. => text.push(byte, at),
                _ => {}
            }
        }
        text
    }

    fn push(&mut self, byte: u8, at: u64) {
        self.plain.push(byte);
        self.at.push(at);
    }

    /// Where a text first ends, as a position in the file.
    pub(crate) fn after(&self, pattern: &str) -> Option<u64> {
        let pattern = pattern.as_bytes();
        let begin = self.plain.windows(pattern.len().max(1)).position(|w| w == pattern)?;
        Some(self.at[begin + pattern.len() - 1] + 1)
    }

    /// The boots that it tells, in order.
    pub(crate) fn boots(&self) -> Vec<VmBoot> {
        let mut begin = 0;
        let mut boots: Vec<VmBoot> = Vec::new();
        let slot = |said: &str| said.get(..1).and_then(|s| s.parse().ok());
        // The last piece is a line that is not ended yet, or nothing.
        for line in self.plain.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")) {
            let text = String::from_utf8_lossy(line);
            for (words, trial) in [(TRYING, true), (STARTING, false)] {
                let taken = text.split_once(words).and_then(|(_, said)| slot(said));
                boots.extend(taken.map(|slot| VmBoot { slot, trial, started: true, at: self.at[begin] }));
            }
            if let Some((_, said)) = text.split_once(CANNOT.0)
                && said.get(1..).is_some_and(|rest| rest.starts_with(CANNOT.1))
                && let Some(last) = boots.last_mut().filter(|last| slot(said) == Some(last.slot))
            {
                last.started = false;
            }
            begin += line.len();
        }
        boots
    }

    /// Its last lines that are not empty.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let text = String::from_utf8_lossy(&self.plain);
        let all: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Takes the rest of a control sequence away: one that begins with `[` goes on to a letter, every other is two bytes long.
/// Whether it moves to a place of the screen (ECMA-48, CUP).
fn is_move(mut rest: impl Iterator<Item = u8>) -> bool {
    rest.next() == Some(b'[') && rest.find(|b| (0x40..=0x7e).contains(b)) == Some(b'H')
}

/// The end of a console, or why it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let length = path.metadata().map_or(0, |m| m.len());
    let text = Text::read(path, length.saturating_sub(16_384));
    text.map_or_else(|e| format!("({e})"), |text| text.tail(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[u8] = b"\x1b[2J\x1b[01;01HBdsDxe: starting\r\n\x1b[0mfilial: trying slot B, 1 attempt left\r\n\
        [    0.0] Linux\r\nfilial: trying slot B, 0 attempts left\r\nfilial: slot B cannot be started\r\n\
        filial: starting slot A\r\n[    0.0] Linux\r\nfilial: starting slot B";

    #[test]
    fn boots_are_told_by_whole_lines_of_the_bootloader() {
        let boots = Text::of(SAID, 100).boots();
        let told: Vec<_> = boots.iter().map(|b| (b.slot, b.trial, b.started)).collect();
        assert_eq!(told, [(Slot::B, true, true), (Slot::B, true, false), (Slot::A, false, true)]);
        assert!(boots[0].at > 100 && boots[0].at < boots[1].at, "{boots:?}");
    }

    #[test]
    fn a_wait_goes_on_where_another_ended() {
        let first = Text::of(SAID, 0).after("trying slot ").unwrap();
        let rest = &SAID[usize::try_from(first).unwrap()..];
        assert!(rest.starts_with(b"B, 1"));
        let second = Text::of(rest, first).after("trying slot ").unwrap();
        assert!(SAID[usize::try_from(second).unwrap()..].starts_with(b"B, 0"));
        assert_eq!(Text::of(SAID, 0).after("slot C"), None);
    }

    #[test]
    fn a_console_that_is_not_there_is_empty() {
        let text = Text::read(Path::new("no/such/console"), 0).unwrap();
        assert!(text.boots().is_empty() && text.after("x").is_none() && text.tail(5).is_empty());
        assert_eq!(Text::of(SAID, 0).tail(1), "filial: starting slot B");
    }
}
