//! U-Boot's redundant environment in a file, with the real fw_printenv and fw_setenv (package libubootenv-tool).

use std::fs;
use std::path::{Path, PathBuf};

use bootslot::{BootState, UBootEnv};

use super::{feed, put, text, tool};

/// Bytes of one copy: checksum (4), counter (1), variables.
pub const COPY: usize = 512;

/// A fresh environment with U-Boot's own variables in it and none of ours.
pub fn fresh(dir: &Path) -> UBootEnv {
    let env = broken(dir);
    feed("fw_setenv", &["-c", text(&env.config), "-f", text(&env.defaults), "-s", "-"], "stray=1\n");
    env
}

/// An environment whose copies are both unusable.
pub fn broken(dir: &Path) -> UBootEnv {
    let (config, defaults) = (dir.join("fw_env.config"), dir.join("u-boot-initial-env"));
    put(&store(dir), &[0; 2 * COPY]);
    let line = |offset: usize| format!("{} {offset:#x} {COPY:#x}\n", text(&store(dir)));
    put(&config, format!("# where both copies lie\n{}{}", line(0), line(COPY)).as_bytes());
    put(&defaults, b"bootcmd=run distro_bootcmd\nbootdelay=2\n");
    UBootEnv { defaults, ..UBootEnv::new(config) }
}

/// The file that holds both copies.
pub fn store(dir: &Path) -> PathBuf {
    dir.join("env.bin")
}

/// All variables as the real tool sees them; `None`: it finds no good copy.
pub fn variables(config: &Path) -> Option<Vec<(String, String)>> {
    let out = tool("fw_printenv", &["-c", text(config), "-f", "/dev/null/none"], b"");
    out.status.success().then(|| {
        let list = String::from_utf8(out.stdout).unwrap();
        list.lines().filter_map(|l| l.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    })
}

/// Sets variables as another program would.
pub fn set(config: &Path, lines: &str) {
    feed("fw_setenv", &["-c", text(config), "-f", "/dev/null/none", "-s", "-"], lines);
}

/// The copy that counts, by libubootenv's and U-Boot's rule: of the good ones the later, and 0 comes after 255.
pub fn active(store: &[u8]) -> Option<usize> {
    let good = [0, 1].map(|copy| {
        let copy = &store[copy * COPY..(copy + 1) * COPY];
        (u32::from_le_bytes(copy[..4].try_into().unwrap()) == crc32(&copy[5..])).then_some(copy[4])
    });
    match good {
        [None, None] => None,
        [Some(_), None] => Some(0),
        [None, Some(_)] => Some(1),
        [Some(255), Some(0)] => Some(1),
        [Some(0), Some(255)] => Some(0),
        [Some(first), Some(second)] => Some(usize::from(second > first)),
    }
}

/// CRC-32 as in zlib.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A state as the tool is told.
pub fn lines(state: &BootState) -> String {
    let (trial, left) = state.trial.map_or((String::new(), 0), |t| (t.slot.to_string(), t.left));
    format!("filial_default={}\nfilial_trial={trial}\nfilial_trial_left={left}\n", state.default)
}

/// The bytes of the store.
pub fn bytes(dir: &Path) -> Vec<u8> {
    fs::read(store(dir)).unwrap()
}
