//! Running the program, and a folder to pack.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// `filial` with nothing of this machine's environment, its state in `folder`.
#[expect(clippy::disallowed_methods, reason = "the program under test is a process")]
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_filial"));
    command.env_clear().env("XDG_STATE_HOME", folder.join("state")).env("XDG_CONFIG_HOME", folder.join("config"));
    command.current_dir(folder).args(args);
    command
}

pub fn filial(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().unwrap()
}

/// Runs a command line on a pseudo-terminal.
#[expect(clippy::disallowed_methods, reason = "the program under test is a process")]
pub fn in_a_terminal(folder: &Path, line: &str) -> Output {
    let mut command = Command::new("script");
    command.env_clear().env("XDG_STATE_HOME", folder.join("state")).env("TERM", "xterm").env("SHELL", "/bin/sh");
    command.current_dir(folder).args(["--quiet", "--return", "--command", line, "/dev/null"]).output().unwrap()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs it, expects success, and reads what it answers as JSON.
#[track_caller]
pub fn json(folder: &Path, args: &[&str]) -> Value {
    let output = filial(folder, args);
    assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", stdout(&output)))
}

pub fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // As a careful person keeps passwords and tokens; the rest is read by the same user.
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create(true).truncate(true), 0o600);
    options.open(path).unwrap().write_all(bytes).unwrap();
}

/// A folder with a release of one image that looks like a squashfs.
pub fn source() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut image = vec![7; 3_000_000];
    image[..96].fill(0);
    image[..4].copy_from_slice(b"hsqs");
    image[28..30].copy_from_slice(&4u16.to_le_bytes());
    image[40..48].copy_from_slice(&3_000_000u64.to_le_bytes());
    put(&dir.path().join("src/rootfs.img"), &image);
    put(
        &dir.path().join("src/release.toml"),
        br#"
format = 1
product = "kiosk"
version = "2.4.0"
notes = "Fixes receipt printing"
[[payload]]
name = "rootfs"
kind = "slot-image"
compatible = ["kiosk-x86-64"]
file = "rootfs.img"
"#,
    );
    dir
}

/// [`source`], packed as `kiosk-2.4.0.upd`.
pub fn packed() -> TempDir {
    let dir = source();
    assert_eq!(code(&filial(dir.path(), &["release", "pack", "src"])), 0);
    dir
}

/// Runs a command line on a pseudo-terminal and types `text` at `prompt`; returns the screen's text.
#[expect(clippy::disallowed_methods, reason = "the program under test is a process")]
pub fn typed_in_a_terminal(folder: &Path, line: &str, prompt: &str, text: &str) -> String {
    use std::io::Read as _;
    use std::process::Stdio;
    let mut command = Command::new("script");
    command.env_clear().env("XDG_CONFIG_HOME", folder.join("config")).env("TERM", "xterm").env("SHELL", "/bin/sh");
    command.current_dir(folder).args(["--quiet", "--return", "--echo", "always", "--command", line, "/dev/null"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut piece) = (String::new(), [0; 1024]);
    while !shown.contains(&format!("{prompt} at ")) || !shown.ends_with(": ") {
        let n = screen.read(&mut piece).unwrap();
        assert!(n > 0, "it ended before it asked: {shown}");
        shown.push_str(&String::from_utf8_lossy(&piece[..n]));
    }
    keyboard.write_all(text.as_bytes()).unwrap();
    screen.read_to_string(&mut shown).unwrap();
    drop(keyboard);
    child.wait().unwrap();
    shown
}
