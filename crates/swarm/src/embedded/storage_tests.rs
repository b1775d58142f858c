use std::collections::BTreeMap;
use std::io::Write as _;

use test_kit::SmallDisk;

use super::super::verify::{Progress, verify};
use super::*;
use crate::{create, create_any};

const PIECE: u32 = 16 * 1024;

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + n / 251) as u8).collect()
}

fn write(path: &Path, content: &[u8]) {
    File::create(path).unwrap().write_all(content).unwrap();
}

/// A torrent of a folder with files of these lengths, and the content as one stream.
fn folder(lengths: &[usize]) -> (Torrent, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let all = bytes(lengths.iter().sum());
    let mut start = 0;
    for (n, length) in lengths.iter().enumerate() {
        write(&dir.path().join(format!("f{n:02}")), &all[start..start + length]);
        start += length;
    }
    (create_any(dir.path(), "f", Some(PIECE), &mut |_| {}).unwrap(), all)
}

fn pieces_of(torrent: &Torrent, storage: &FileStorage) -> Vec<bool> {
    let bits = verify(torrent, storage, &Progress::default()).unwrap().unwrap();
    (0..torrent.piece_count()).map(|piece| bits[piece as usize / 8] & (0x80 >> (piece % 8)) != 0).collect()
}

#[test]
fn pieces_of_many_files_are_written_out_of_order_and_read_back() {
    let (torrent, all) = folder(&[10, 40_000, 1, 0, 16_384, 30_001]);
    let dir = tempfile::tempdir().unwrap();
    let storage = FileStorage::new(&torrent, dir.path());
    assert_eq!(storage.identity(), None);
    assert!(pieces_of(&torrent, &storage).iter().all(|good| !good), "nothing is there yet");
    let mut identities = BTreeMap::new();
    for piece in (0..torrent.piece_count()).rev() {
        let from = piece as usize * PIECE as usize;
        let to = (from + PIECE as usize).min(all.len());
        storage.write_piece(from as u64, &all[from..to]).unwrap();
        identities.insert(storage.identity().unwrap(), piece);
    }
    storage.sync().unwrap();
    assert!(pieces_of(&torrent, &storage).iter().all(|good| *good));
    for (offset, length) in [(0, all.len()), (5, 10), (9, 40_010), (all.len() - 1, 1)] {
        let mut read = vec![1; length];
        storage.read_at(offset as u64, &mut read).unwrap();
        assert!(read == all[offset..offset + length], "{offset} {length}");
    }
    assert!(torrent.verify(&dir.path().join("f"), &mut |_| {}).unwrap().bad.is_empty());
    storage.rest();
    assert!(storage.open.lock().unwrap().is_none());
    storage.read_at(0, &mut [0; 3]).unwrap();
    assert!(storage.open.lock().unwrap().is_some(), "opened again");
}

#[test]
fn damaged_short_and_long_content_is_told_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let all = bytes(3 * PIECE as usize + 5);
    write(&path, &all);
    let torrent = create(&path, "a", Some(PIECE), &mut |_| {}).unwrap().torrent;
    let storage = FileStorage::new(&torrent, dir.path());
    let identity = storage.identity().unwrap();
    assert_eq!(pieces_of(&torrent, &storage), [true; 4]);

    let mut damaged = all.clone();
    damaged[PIECE as usize] ^= 1;
    write(&path, &damaged);
    storage.rest();
    assert_eq!(pieces_of(&torrent, &storage), [true, false, true, true]);
    write(&path, &all[..2 * PIECE as usize]);
    assert_eq!(pieces_of(&torrent, &storage), [true, true, false, false]);
    assert_ne!(storage.identity().unwrap(), identity);

    write(&path, &[all.as_slice(), b"more"].concat());
    storage.write_piece(0, &all[..PIECE as usize]).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), all.len() as u64, "cut when it is written");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(storage.identity(), None, "gone");
}

#[test]
fn a_cancelled_verification_ends_early() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a"), &bytes(100_000));
    let torrent = create(&dir.path().join("a"), "a", Some(PIECE), &mut |_| {}).unwrap().torrent;
    let progress = Progress::default();
    progress.cancel();
    assert_eq!(verify(&torrent, &FileStorage::new(&torrent, dir.path()), &progress).unwrap(), None);
    assert_eq!(progress.checked.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// The whole file's space is claimed before its first byte, so a disk that is too small is told before anything crosses the WAN.
#[test]
fn a_full_disk_is_an_error_with_path_and_remedy_and_is_overcome() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "mounting a small disk needs root");
        return;
    }
    let disk = SmallDisk::mount(1 << 20).unwrap();
    let source = tempfile::tempdir().unwrap();
    let all = bytes(600_000);
    write(&source.path().join("a"), &all);
    let torrent = create(&source.path().join("a"), "a", Some(PIECE), &mut |_| {}).unwrap().torrent;
    disk.fill(300_000).unwrap();
    let storage = FileStorage::new(&torrent, disk.path());
    let error = storage.write_piece(0, &all[..PIECE as usize]).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.source.kind(), io::ErrorKind::StorageFull, "{text}");
    assert!(text.contains(disk.path().join("a").to_str().unwrap()) && text.contains("free space"), "{text}");
    disk.clear().unwrap();
    storage.write_piece(0, &all[..PIECE as usize]).unwrap();
    assert!(pieces_of(&torrent, &storage)[0]);
}
