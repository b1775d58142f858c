//! GRUB's tool reads the block that we write, and we read the tool's block.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use bootslot::{BLOCK_SIZE, BlockError, BootError, BootSlots, BootState, GrubEnv, Trial};
use fleet_types::Slot::{A, B};
use proptest::prelude::*;

/// Runs the real grub-editenv.
fn editenv(path: &Path, arguments: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "the real tool is what the result is judged by")]
    let out = std::process::Command::new("grub-editenv").arg(path).args(arguments).output();
    let out = out.expect("grub-editenv (package grub-common) must be installed");
    assert!(out.status.success(), "grub-editenv {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn variables(path: &Path) -> BTreeMap<String, String> {
    let list = editenv(path, &["list"]);
    list.lines().filter_map(|l| l.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn put(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn grubs_own_tool_reads_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    env.create(&BootState::settled(A)).unwrap();
    assert_eq!(variables(&env.path)["filial_trial"], "");
    let trial = BootState::settled(A).start_trial(B, 3).unwrap();
    env.write(&trial).unwrap();
    let seen = variables(&env.path);
    assert_eq!(
        (seen["filial_default"].as_str(), seen["filial_trial"].as_str(), seen["filial_trial_left"].as_str()),
        ("A", "B", "3")
    );
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!(env.read().unwrap(), trial);
}

#[test]
fn we_read_what_grub_decremented() {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    env.create(&BootState::settled(B)).unwrap();
    env.write(&BootState::settled(B).start_trial(A, 2).unwrap()).unwrap();
    editenv(&env.path, &["set", "filial_trial_left=1"]);
    assert_eq!(env.read().unwrap(), BootState { default: B, trial: Some(Trial { slot: A, left: 1 }) });
    // A variable that the tool appended survives our next write, and ours are still found.
    editenv(&env.path, &["set", "next_entry=0"]);
    env.write(&BootState::settled(A)).unwrap();
    assert_eq!(variables(&env.path)["next_entry"], "0");
    assert_eq!(env.read().unwrap(), BootState::settled(A));
}

#[test]
fn a_block_that_the_tool_made_can_be_taken_over_only_by_create() {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    editenv(&env.path, &["create"]);
    let error = env.read().unwrap_err();
    assert!(matches!(error, BootError::Block { source: BlockError::Missing("filial_default"), .. }), "{error}");
    env.create(&BootState::settled(A)).unwrap();
    assert_eq!(env.read().unwrap(), BootState::settled(A));
    assert!(matches!(env.create(&BootState::settled(B)), Err(BootError::AlreadyValid { .. })));
    assert_eq!(env.read().unwrap(), BootState::settled(A));
}

#[test]
fn a_missing_empty_truncated_or_overlong_block_is_an_explicit_error_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    assert!(env.is_missing());
    assert!(matches!(env.read(), Err(BootError::Open { .. })));
    assert!(matches!(env.write(&BootState::settled(A)), Err(BootError::Open { .. })));
    assert!(env.is_missing(), "a write must not make a block");
    let mut header = b"# GRUB Environment Block\n".to_vec();
    header.resize(BLOCK_SIZE + 1, b'#');
    for bytes in [&[][..], &header[..25], &header[..BLOCK_SIZE - 1], &header[..]] {
        put(&env.path, bytes);
        assert!(matches!(env.read(), Err(BootError::Block { source: BlockError::Length(_), .. })), "{}", bytes.len());
        assert!(env.write(&BootState::settled(A)).is_err());
        assert_eq!(fs::read(&env.path).unwrap(), bytes, "a failed write changes nothing");
        env.create(&BootState::settled(A)).unwrap();
        assert_eq!(env.read().unwrap(), BootState::settled(A));
        assert_eq!(fs::metadata(&env.path).unwrap().len(), BLOCK_SIZE as u64);
        fs::remove_file(&env.path).unwrap();
    }
}

#[test]
fn the_file_stays_the_same_file() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    env.create(&BootState::settled(A)).unwrap();
    let before = fs::metadata(&env.path).unwrap();
    env.write(&BootState::settled(B)).unwrap();
    let after = fs::metadata(&env.path).unwrap();
    assert_eq!((before.ino(), after.len()), (after.ino(), BLOCK_SIZE as u64), "GRUB finds the block where it lies");
}

#[test]
fn when_others_fill_the_block_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    editenv(&env.path, &["create"]);
    editenv(&env.path, &["set", "filial_default=A", "filial_trial=", "filial_trial_left=0"]);
    let room = fs::read(&env.path).unwrap().iter().rev().take_while(|b| **b == b'#').count();
    editenv(&env.path, &["set", &format!("x={}", "y".repeat(room - 3))]);
    let before = fs::read(&env.path).unwrap();
    let error = env.write(&BootState::settled(A).start_trial(B, 1).unwrap()).unwrap_err();
    assert!(matches!(error, BootError::NoRoom { .. }), "{error}");
    assert_eq!(fs::read(&env.path).unwrap(), before);
}

/// The variables of a Fedora machine.
const FEDORA: [&str; 3] =
    ["saved_entry=fedora-6.11", "boot_success=1", "kernelopts=root=/dev/sda3 ro rd.luks.uuid=luks-7 rhgb quiet"];

fn others(path: &Path) -> Vec<String> {
    let seen = variables(path);
    seen.iter().filter(|(n, _)| !n.starts_with("filial_")).map(|(n, v)| format!("{n}={v}")).collect()
}

fn sorted(lines: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn create_keeps_what_other_programs_keep_in_a_damaged_block() {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    editenv(&env.path, &["create"]);
    editenv(&env.path, &[&["set"], &FEDORA[..]].concat());
    let whole = fs::read(&env.path).unwrap();
    let end = String::from_utf8_lossy(&whole).find("kernelopts").unwrap();
    let longer = [&whole[..], b"#"].concat();
    let twice =
        [b"# GRUB Environment Block\nfilial_default=A\nfilial_default=B\n", &whole[25..whole.len() - 34]].concat();
    let not_a_line = [b"# GRUB Environment Block\nnonsense\n", &whole[25..whole.len() - 9]].concat();
    let mut lost_tail = whole.clone();
    lost_tail[end + 5..].fill(0);
    let mut lost_line = whole.clone();
    lost_line[end - 15..end - 1].fill(0);
    for (damaged, kept) in [
        (&whole[..600], &FEDORA[..]),
        (&longer, &FEDORA),
        (&twice, &FEDORA),
        (&not_a_line, &FEDORA),
        (&lost_tail, &FEDORA[..2]),
        (&whole[..end + 20], &FEDORA[..2]),
        (&lost_line, &[FEDORA[0], FEDORA[2]]),
    ] {
        put(&env.path, damaged);
        assert!(env.read().is_err());
        env.create(&BootState::settled(B)).unwrap();
        assert_eq!(env.read().unwrap(), BootState::settled(B));
        assert_eq!(others(&env.path), sorted(kept), "{}", String::from_utf8_lossy(damaged));
    }
}

#[test]
fn create_heals_a_block_into_which_lines_of_a_log_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    env.create(&BootState::settled(A)).unwrap();
    let mut damaged = fs::read(&env.path).unwrap();
    let log = "Nov 30 12:00:00 host kernel: eth0: link=down\n".repeat(20);
    damaged[512..].copy_from_slice(&log.as_bytes()[..512]);
    put(&env.path, &damaged);
    assert!(env.read().is_err());
    env.create(&BootState::settled(B)).unwrap();
    assert_eq!(env.read().unwrap(), BootState::settled(B));
    assert_eq!(others(&env.path), Vec::<String>::new());
}

#[test]
fn a_long_comment_of_another_program_leaves_room() {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    let comment = format!("# {}\n", "a word of another program ".repeat(20));
    let mut block = format!("# GRUB Environment Block\n{comment}saved_entry=7\n").into_bytes();
    block.resize(1024, b'#');
    put(&env.path, &block);
    env.create(&BootState::settled(A)).unwrap();
    env.write(&BootState::settled(B)).unwrap();
    assert_eq!(env.read().unwrap(), BootState::settled(B));
    assert_eq!(variables(&env.path)["saved_entry"], "7");
    assert!(String::from_utf8(fs::read(&env.path).unwrap()).unwrap().contains(&comment));
}

#[test]
fn create_changes_nothing_when_others_leave_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    editenv(&env.path, &["create"]);
    editenv(&env.path, &["set", &format!("kernelopts={}", "y".repeat(880))]);
    let before = fs::read(&env.path).unwrap();
    let error = env.create(&BootState::settled(A)).unwrap_err().to_string();
    assert!(error.contains("no room") && error.contains("grub-editenv") && error.contains("unset"), "{error}");
    assert_eq!(fs::read(&env.path).unwrap(), before);
}

/// Names and values as GRUB scripts use them, with what needs escaping among them.
fn foreign() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[a-z][a-z0-9_]{0,11}", "[ -~\\\\#=é]{0,24}", 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_variables_of_others_survive_any_sequence_of_writes(
        foreign in foreign(),
        writes in proptest::collection::vec((any::<bool>(), 0u8..=9), 1..6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let env = GrubEnv::new(dir.path().join("grubenv"));
        editenv(&env.path, &["create"]);
        let settings: Vec<String> = foreign.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let mut arguments = vec!["set", "filial_default=A", "filial_trial=", "filial_trial_left=0"];
        arguments.extend(settings.iter().map(String::as_str));
        editenv(&env.path, &arguments);
        for (a, left) in writes {
            let default = if a { A } else { B };
            let state = BootState { default, trial: (left > 0).then_some(Trial { slot: default.other(), left }) };
            env.write(&state).unwrap();
            prop_assert_eq!(env.read().unwrap(), state);
            let mut seen = variables(&env.path);
            seen.retain(|name, _| !name.starts_with("filial_"));
            prop_assert_eq!(&seen, &foreign);
        }
    }
}
