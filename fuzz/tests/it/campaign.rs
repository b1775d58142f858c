//! A short campaign against every target, the same inputs in every run.

use std::path::Path;

use fuzz::{Campaign, Failure, TARGETS, Target, find};

/// Another seed is `make fuzz`'s business.
const SEED: u64 = 20_301;

fn campaign(iterations: u64, name: &str) -> Campaign {
    let failures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(name);
    Campaign { iterations, seed: SEED, failures, keep: false }
}

#[track_caller]
fn run(name: &str, iterations: u64) {
    match campaign(iterations, name).run(find(name).unwrap()) {
        Ok(inputs) => println!("{name}: {inputs} inputs of seed {SEED}"),
        Err(failure) => panic!("{failure}"),
    }
}

macro_rules! targets {
    ($($function:ident $name:literal $iterations:literal;)*) => {
        $(#[test]
        fn $function() {
            run($name, $iterations);
        })*
        const TESTED: &[&str] = &[$($name),*];
    };
}

targets! {
    archive "archive" 4000;
    manifest "manifest" 4000;
    artifact_index "artifact-index" 10_000;
    artifact_frame "artifact-frame" 5000;
    torrent "torrent" 10_000;
    bencode "bencode" 10_000;
    envelope "envelope" 4000;
    plan "plan" 4000;
    env_block "env-block" 10_000;
    command_line "command-line" 10_000;
    event_stream "event-stream" 10_000;
    os_release "os-release" 10_000;
}

#[test]
fn every_target_is_tested() {
    assert_eq!(TESTED, TARGETS.iter().map(|t| t.name).collect::<Vec<_>>());
}

#[test]
fn a_fault_is_found_and_its_input_kept() {
    fn faulty(bytes: &[u8]) {
        assert!(!bytes.windows(3).any(|w| w == b"ETX"), "a fault");
    }
    let target = Target { name: "os-release", run: faulty, words: &[b"ETX"] };
    let failure = campaign(1000, "faulty").run(&target).unwrap_err();
    let Failure::Panicked { path, message, .. } = &failure else { panic!("{failure}") };
    assert_eq!(message, "a fault");
    let input = std::fs::read(path).unwrap();
    assert!(input.windows(3).any(|w| w == b"ETX"));
    assert!(failure.to_string().contains(path.to_str().unwrap()), "the sentence names the file");
}
