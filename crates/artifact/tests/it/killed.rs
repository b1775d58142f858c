//! kill -9 of an encoding process: a new one continues, and the artifact is the same.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::samples::{Memory, Place, SEGMENT, id_of, options, payload};

const FOLDER: &str = "FILIAL_TEST_ENCODE_FOLDER";
const SEGMENTS: u64 = 40;

fn bytes() -> Vec<u8> {
    payload(11, (SEGMENTS * u64::from(SEGMENT)) as usize - 5)
}

#[test]
fn a_killed_encoder_is_continued_to_the_same_artifact() {
    let bytes = bytes();
    let (reference, place) = (Place::new(), Place::new());
    let expected = reference.encode(&bytes, &options(1)).unwrap();
    let mut done = 0;
    for new in [1, 7, 13] {
        let resumed = encode_until_killed(place.0.path(), new);
        assert_eq!(resumed, done, "everything an earlier process reported was taken over");
        done += new;
        assert!(!place.out().exists());
    }
    let last = std::sync::Mutex::new(0);
    let progress = |p: artifact::EncodeProgress| *last.lock().unwrap() = p.resumed;
    let encoded = place.encode_as(&Memory(bytes.clone()), id_of(&bytes), &options(2), &progress, &|| false).unwrap();
    assert_eq!(last.into_inner().unwrap(), done * u64::from(SEGMENT));
    assert_eq!(encoded, expected);
    assert!(place.artifact() == reference.artifact());
}

/// Runs the test below in a separate process, lets it report `new` segments, kills it while it wants to go on, and
/// gives how many segments it had taken over.
#[expect(clippy::disallowed_methods, reason = "a process has to die here, and it cannot be this one")]
fn encode_until_killed(folder: &Path, new: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::encodes_in_a_separate_process", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It goes on after each segment only when it is told to, so it is never done before it is killed.
    let mut go_on = child.stdin.take().unwrap();
    let mut resumed = 0;
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((_, reported)) = line.split_once("segments: ") else { continue };
        let (done, taken_over) = reported.split_once(' ').unwrap();
        resumed = taken_over.parse().unwrap();
        if done.parse::<u64>().unwrap() > resumed {
            seen += 1;
        }
        if seen == new {
            break;
        }
        go_on.write_all(b".").unwrap();
    }
    assert_eq!(seen, new);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    resumed
}

#[test]
#[ignore = "a part of the test above, which runs it in a separate process"]
fn encodes_in_a_separate_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let bytes = bytes();
    let progress = |p: artifact::EncodeProgress| {
        let segment = u64::from(SEGMENT);
        println!("segments: {} {}", p.done.div_ceil(segment), p.resumed.div_ceil(segment));
        std::io::stdin().read_exact(&mut [0]).unwrap();
    };
    let folder = Path::new(&folder);
    let (work, out) = (folder.join("work"), folder.join("artifact"));
    artifact::encode(&Memory(bytes.clone()), id_of(&bytes), &work, &out, &options(2), &progress, &|| false).unwrap();
}
