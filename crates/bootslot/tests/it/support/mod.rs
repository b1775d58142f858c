//! What the tests of this crate share: the real tools, all states and all edits between them.

pub mod grub;
pub mod uboot;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bootslot::{BootState, MAX_ATTEMPTS, Trial};
use fleet_types::Slot;

/// Runs a real tool to its end, at most a minute and a half.
pub fn tool(program: &str, arguments: &[&str], input: &[u8]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "the real tool is what the result is judged by")]
    let mut child = Command::new("timeout")
        .args(["--kill-after=5", "90", program])
        .args(arguments)
        .env("MTOOLS_SKIP_CHECK", "1")
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Only short texts are told: they fit into the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Like [`tool`], for what must succeed: its output.
pub fn run(program: &str, arguments: &[&str]) -> String {
    feed(program, arguments, "")
}

/// Like [`run`], with something on standard input.
pub fn feed(program: &str, arguments: &[&str], input: &str) -> String {
    let out = tool(program, arguments, input.as_bytes());
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {arguments:?} ended with {}: {said}; is it installed?", out.status);
    String::from_utf8_lossy(&out.stdout).into_owned()
}

pub fn put(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file of this crate's scripts/.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// The same script before it knew marks.
pub fn script_before(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/before").join(name)
}

/// Every state that there is.
pub fn states() -> Vec<BootState> {
    let mut all = Slot::ALL.map(BootState::settled).to_vec();
    for default in Slot::ALL {
        let trial = |left| Some(Trial { slot: default.other(), left });
        all.extend((0..=MAX_ATTEMPTS).map(|left| BootState { default, trial: trial(left) }));
    }
    all
}

/// Every pair of states that one edit, or one boot, leads between.
pub fn transitions() -> Vec<(BootState, BootState)> {
    let mut pairs = Vec::new();
    for old in states() {
        let mut news = vec![old.clear_trial(), old.boot().1];
        for slot in Slot::ALL {
            news.extend(old.confirm(slot));
            news.extend(old.adopt(slot));
            news.extend((1..=MAX_ATTEMPTS).filter_map(|n| old.start_trial(slot, n).ok()));
        }
        news.retain(|new| *new != old);
        news.dedup();
        pairs.extend(news.into_iter().map(|new| (old, new)));
    }
    pairs
}
