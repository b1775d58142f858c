//! Each step that can fail, fails: an explicit error, and the old state stands.

use std::fs;
use std::time::Duration;

use bootslot::{BlockError, BootError, BootSlots, BootState, GrubEnv, ToolError};
use fleet_types::Slot::{A, B};

use super::rigs::{self, Rig};
use crate::support::uboot;
use crate::support::{put, text};

/// What an error must be; the tools' errors by their kind.
fn kind(error: &BootError) -> &'static str {
    match error {
        BootError::Tool { source, .. } => match source {
            ToolError::Start(_) => "start",
            ToolError::Follow(_) => "follow",
            ToolError::TimeLimit(_) => "time",
            ToolError::TooMuch => "much",
            ToolError::Exit { .. } => "exit",
            ToolError::Answer { .. } => "answer",
        },
        BootError::NotKept { .. } => "not-kept",
        BootError::Block { .. } => "block",
        BootError::Open { .. } => "open",
        BootError::NotRedundant { .. } => "not-redundant",
        BootError::Defaults { .. } => "defaults",
        _ => "other",
    }
}

/// Tells the tools to fail at `step`, and looks at a read, or at a write, and at what stands afterwards.
fn fails(rig: &dyn Rig, dir: &std::path::Path, step: &str, expected: &str) {
    let old = BootState::settled(A);
    let before = rig.bytes();
    put(&dir.join("fail"), step.as_bytes());
    let trial = old.start_trial(B, 3).unwrap();
    let error = rig.slots().write(&trial).expect_err(step);
    assert_eq!(kind(&error), expected, "{step}: {error:?}");
    fs::remove_file(dir.join("fail")).unwrap();
    assert_eq!(rig.bytes(), before, "{step} changed the store");
    assert_eq!(rig.slots().read().unwrap(), old, "{step}");
}

#[test]
fn each_step_of_uboots_tools() {
    let mut rig = rigs::uboot_strict();
    rig.slots().create(&BootState::settled(A)).unwrap();
    let dir = rig.dir.path().to_owned();
    for tool in ["fw_printenv", "fw_setenv"] {
        for (step, expected) in [("refuse", "exit"), ("flood", "much"), ("crash", "exit")] {
            fails(&rig, &dir, &format!("{tool}-{step}"), expected);
        }
        rig.env.limit = Duration::from_secs(2);
        fails(&rig, &dir, &format!("{tool}-hang"), "time");
        rig.env.limit = Duration::from_secs(20);
    }
    fails(&rig, &dir, "fw_printenv-garbage", "answer");
    fails(&rig, &dir, "fw_setenv-lie", "not-kept");
    rig.env.tools = dir.join("nowhere");
    assert_eq!(kind(&rig.slots().read().unwrap_err()), "start");
}

#[test]
fn each_step_of_a_program_of_the_machines_own() {
    let mut rig = rigs::custom();
    rig.slots().create(&BootState::settled(A)).unwrap();
    let dir = rig.dir.path().to_owned();
    for verb in ["get", "set"] {
        for (step, expected) in [("refuse", "exit"), ("flood", "much"), ("crash", "exit")] {
            fails(&rig, &dir, &format!("{verb}-{step}"), expected);
        }
        rig.env.limit = Duration::from_secs(2);
        fails(&rig, &dir, &format!("{verb}-hang"), "time");
        rig.env.limit = Duration::from_secs(20);
    }
    for step in ["get-garbage", "get-half", "get-nonsense"] {
        fails(&rig, &dir, step, "answer");
    }
    fails(&rig, &dir, "set-lie", "not-kept");
    rig.env.program = dir.join("nowhere");
    assert_eq!(kind(&rig.slots().read().unwrap_err()), "start");
}

#[test]
fn grubs_block_that_is_missing_or_no_file() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("missing"), dir.path().to_owned()] {
        let env = GrubEnv::new(path);
        assert_eq!(kind(&env.write(&BootState::settled(A)).unwrap_err()), "open");
        assert_ne!(kind(&env.read().unwrap_err()), "block", "a store out of reach is not an unusable one");
    }
    // A medium that takes no byte.
    let full = GrubEnv::new("/dev/full");
    assert!(full.create(&BootState::settled(A)).is_err());
}

#[test]
fn an_environment_without_its_second_copy_is_refused_before_it_is_touched() {
    let rig = rigs::uboot();
    rig.slots().create(&BootState::settled(A)).unwrap();
    let before = rig.bytes();
    let both = fs::read_to_string(&rig.env.config).unwrap();
    let one = both.lines().filter(|l| !l.contains("0x200 ")).fold(String::new(), |text, l| text + l + "\n");
    for (config, expected) in [(one.as_str(), "not-redundant"), ("# nothing\n", "not-redundant")] {
        put(&rig.env.config, config.as_bytes());
        assert_eq!(kind(&rig.slots().read().unwrap_err()), expected);
        assert_eq!(kind(&rig.slots().write(&BootState::settled(B)).unwrap_err()), expected);
        assert_eq!(kind(&rig.slots().create(&BootState::settled(B)).unwrap_err()), expected);
        assert_eq!(rig.bytes(), before);
    }
    fs::remove_file(&rig.env.config).unwrap();
    assert_eq!(kind(&rig.slots().read().unwrap_err()), "open");
}

#[test]
fn a_fresh_environment_begins_with_u_boots_own_variables_or_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut env = uboot::broken(dir.path());
    let error = env.read().unwrap_err();
    assert!(matches!(error, BootError::Block { source: BlockError::Copies, .. }), "{error:?}");
    let good = std::mem::replace(&mut env.defaults, dir.path().join("missing"));
    assert_eq!(kind(&env.create(&BootState::settled(A)).unwrap_err()), "defaults");
    assert_eq!(uboot::variables(&env.config), None, "nothing was made");
    env.defaults = good;
    env.create(&BootState::settled(A)).unwrap();
    let seen = uboot::variables(&env.config).unwrap();
    assert!(seen.iter().any(|(name, _)| name == "bootcmd"), "it would boot nothing: {seen:?}");
    assert_eq!(env.read().unwrap(), BootState::settled(A));
}

#[test]
fn a_device_that_is_not_there_is_out_of_reach_and_not_unusable() {
    let rig = rigs::uboot();
    rig.slots().create(&BootState::settled(A)).unwrap();
    fs::remove_file(uboot::store(rig.dir.path())).unwrap();
    let error = rig.slots().read().unwrap_err();
    assert_eq!(kind(&error), "exit", "{} {error:?}", text(&rig.env.config));
}
