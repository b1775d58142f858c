//! The peak memory of each hostile file's reader, measured by the kernel on a separate process.
#![expect(clippy::disallowed_methods, reason = "each file is read by a separate process")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use fuzz::{find, of_reader};

/// The peak of a process that runs `target` on `bytes`, in bytes.
fn peak(folder: &Path, target: &str, name: &str, bytes: &[u8]) -> u64 {
    let path = folder.join(name);
    File::create(&path).unwrap().write_all(bytes).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_fuzz")).args(["one", target]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name}: {}: {said}", done.status);
    std::fs::remove_file(&path).unwrap();
    1024 * String::from_utf8(done.stdout).unwrap().trim().parse::<u64>().unwrap()
}

#[test]
fn no_hostile_file_takes_much_more_memory_than_it_has_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let idle = peak(dir.path(), "os-release", "nothing", b"");
    let (mut most, mut over) = ((0, ""), Vec::new());
    for file in hostile::corpus() {
        let target = find(of_reader(file.reader)).unwrap();
        let took = peak(dir.path(), target.name, file.name, &file.bytes).saturating_sub(idle);
        // A torrent's values and a manifest's TOML are held as trees, of a bounded number of values and of a bounded
        // text; everything else is read as a stream, or held as it is and once decoded.
        let bound = match file.code {
            "bencode-too-many-values" => 64 << 20,
            code if code.starts_with("manifest") => 32 << 20,
            _ => 8 << 20,
        };
        let allowed = bound + 4 * file.bytes.len() as u64;
        if took > allowed {
            over.push(format!("{} took {took} bytes, {allowed} are allowed", file.name));
        }
        most = most.max((took, file.name));
    }
    assert!(over.is_empty(), "{over:#?}");
    println!("idle {idle} bytes; the most above that: {} bytes, {}", most.0, most.1);
}
