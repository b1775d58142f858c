//! `pack`: what it writes, and what it refuses.

use std::fs::File;
use std::io::Write as _;

use release::{Limits, MemberPath, PackError, Packed, TreeError, TreeSink, inspect, pack, read_tree, scan};

use super::kit::{TOML, folder, good, good_toml, put, scan_of, squashfs};

fn quiet(dir: &tempfile::TempDir) -> Result<Packed, PackError> {
    pack(dir.path(), &dir.path().join("out.upd"), &mut |_, _| {})
}

#[test]
fn size_and_digest_are_filled_in_and_offsets_lead_to_the_payload() {
    let archive = good();
    let found = scan_of(&archive);
    assert!(found.complete && found.flaws.is_empty());
    assert_eq!(found.length, archive.len() as u64);
    let (payload, member) = found.payloads().next().unwrap();
    let member = member.unwrap();
    let at = member.offset as usize;
    assert_eq!(&archive[at..at + 9000], squashfs(9000));
    assert_eq!((payload.size, payload.sha256), (9000, member.sha256));
    assert_eq!(archive.len() % 512, 0);
}

#[test]
fn packing_is_deterministic_and_takes_a_folder_or_its_manifest() {
    let (one, two) = (folder(), folder());
    let (a, b) = (one.path().join("a.upd"), two.path().join("b.upd"));
    let packed = pack(one.path(), &a, &mut |_, _| {}).unwrap();
    assert_eq!(pack(&two.path().join("release.toml"), &b, &mut |_, _| {}).unwrap(), packed);
    let bytes = std::fs::read(&a).unwrap();
    assert_eq!(bytes, std::fs::read(&b).unwrap());
    assert_eq!(bytes.len() as u64, packed.length);
    assert_eq!(scan_of(&bytes).manifest.unwrap().sha256, packed.manifest_sha256);
    assert!(!one.path().join("a.upd.partial").exists());
}

#[test]
fn progress_ends_at_the_sum_of_the_payloads() {
    let dir = folder();
    let mut last = (0, 0);
    pack(dir.path(), &dir.path().join("x.upd"), &mut |done, total| last = (done, total)).unwrap();
    assert_eq!(last, (9000, 9000));
}

#[test]
fn inspect_reads_the_manifest_only() {
    let archive = good();
    let found = inspect(&archive[..], &Limits::default()).unwrap();
    assert_eq!(found.manifest().unwrap().to_toml().unwrap(), good_toml());
    assert!(found.flaws.is_empty() && !found.complete && found.length < archive.len() as u64);
}

#[test]
fn sources_that_are_no_plain_files_are_refused() {
    let dir = folder();
    let image = dir.path().join("payloads/rootfs.img");
    std::fs::rename(&image, dir.path().join("elsewhere")).unwrap();
    let missing = quiet(&dir).unwrap_err();
    assert!(matches!(missing, PackError::Source { .. }), "{missing:?}");
    assert!(missing.to_string().contains("rootfs.img") && missing.to_string().contains("payload rootfs"));

    std::os::unix::fs::symlink("../elsewhere", &image).unwrap();
    assert!(quiet(&dir).unwrap_err().to_string().contains("is a symbolic link"));
    std::fs::remove_file(&image).unwrap();
    std::fs::create_dir(&image).unwrap();
    assert!(quiet(&dir).unwrap_err().to_string().contains("is a folder"));

    std::fs::remove_dir(&image).unwrap();
    std::fs::rename(dir.path().join("payloads"), dir.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("payloads")).unwrap();
    put(&dir.path().join("real/rootfs.img"), &squashfs(9000));
    assert!(quiet(&dir).unwrap_err().to_string().contains("is a symbolic link"), "a folder on the way, too");
    assert!(!dir.path().join("out.upd").exists() && !dir.path().join("out.upd.partial").exists());
}

#[test]
fn what_the_manifest_states_must_be_so() {
    let dir = folder();
    put(&dir.path().join("release.toml"), good_toml().as_bytes());
    quiet(&dir).unwrap();
    put(&dir.path().join("release.toml"), format!("{TOML}size = 8999\n").as_bytes());
    assert!(quiet(&dir).unwrap_err().to_string().contains("has size 9000, but release.toml states 8999"));
    put(&dir.path().join("release.toml"), format!("{TOML}sha256 = \"{}\"\n", "a".repeat(64)).as_bytes());
    let wrong = quiet(&dir).unwrap_err();
    assert!(matches!(wrong, PackError::NotAsStated { field: "sha256", .. }), "{wrong:?}");
    assert!(std::fs::read_dir(dir.path()).unwrap().all(|e| e.unwrap().file_name() != "out.upd.partial"));
}

#[test]
fn bad_manifests_and_targets_are_refused() {
    let dir = folder();
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(quiet(&empty), Err(PackError::Manifest { .. })));
    put(&empty.path().join("release.toml"), TOML.replace("payloads/rootfs.img", "../x").as_bytes());
    assert!(matches!(quiet(&empty), Err(PackError::BadManifest { .. })));
    put(&empty.path().join("release.toml"), &vec![b'#'; 300_000]);
    assert!(matches!(quiet(&empty), Err(PackError::LongManifest { .. })));

    let image = dir.path().join("payloads/rootfs.img");
    assert!(matches!(pack(dir.path(), &image, &mut |_, _| {}), Err(PackError::OutIsSource { .. })));
    assert_eq!(std::fs::read(&image).unwrap(), squashfs(9000));
    let nowhere = dir.path().join("no/such/folder.upd");
    let refused = pack(dir.path(), &nowhere, &mut |_, _| {}).unwrap_err();
    assert!(matches!(&refused, PackError::Write { path, .. } if *path == nowhere), "{refused:?}");

    let name = "x".repeat(180);
    put(&dir.path().join(&name), &squashfs(9000));
    put(&dir.path().join("release.toml"), TOML.replace("payloads/rootfs.img", &name).as_bytes());
    assert!(matches!(quiet(&dir), Err(PackError::LongPath { .. })));
}

#[test]
fn files_beyond_8_gib_have_a_size_that_tar_reads() {
    // Written as a hole and read as a stream, so that it costs neither disk nor much time: header only.
    let dir = tempfile::tempdir().unwrap();
    let big = (8u64 << 30) + 4096;
    let mut header = tar::Header::new_ustar();
    header.set_path("payloads/rootfs.img").unwrap();
    header.set_size(big);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let path = dir.path().join("big.upd");
    let mut file = File::create(&path).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(512 + big + 1024).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the ordinary tar is what this is tested against")]
    let out = std::process::Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains(&big.to_string()), "{out:?}");
    // The scan believes the same size: it finds the archive cut where the file is cut.
    file.set_len(1 << 20).unwrap();
    let found = scan(File::open(&path).unwrap(), &Limits::default(), &mut |_| {}).unwrap();
    assert!(found.flaws.iter().any(|f| f.to_string().contains("in the middle of \"payloads/rootfs.img\"")));
}

/// A release whose package is a folder.
fn with_tree(fill: impl Fn(&std::path::Path)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("payloads/tools");
    std::fs::create_dir_all(tree.join("bin")).unwrap();
    fill(&tree);
    let manifest = "format = 1\nproduct = \"tools\"\nversion = \"1.0.0\"\nnotes = \"x\"\n\n[[payload]]\nname = \"tools\"\n\
         kind = \"package\"\nfile = \"payloads/tools\"\nrun = [\"./bin/tool\"]\n";
    put(&dir.path().join("release.toml"), manifest.as_bytes());
    dir
}

/// Remembers what a tree holds.
#[derive(Default)]
struct Listing(Vec<String>);

impl TreeSink for Listing {
    fn folder(&mut self, path: &MemberPath) -> std::io::Result<()> {
        self.0.push(format!("{path}/"));
        Ok(())
    }

    fn file(&mut self, path: &MemberPath, executable: bool) -> std::io::Result<()> {
        self.0.push(format!("{path}{} ", if executable { "*" } else { "" }));
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let last = self.0.last_mut().unwrap();
        last.push_str(std::str::from_utf8(bytes).unwrap());
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_folder_becomes_a_tree_that_is_the_same_every_time_and_is_read_back() {
    use std::os::unix::fs::PermissionsExt;
    let fill = |tree: &std::path::Path| {
        put(&tree.join("version"), b"one");
        put(&tree.join("bin/tool"), b"#!/bin/sh");
        std::fs::set_permissions(tree.join("bin/tool"), std::fs::Permissions::from_mode(0o4711)).unwrap();
    };
    let (one, two) = (with_tree(fill), with_tree(fill));
    assert_eq!(quiet(&one).unwrap(), quiet(&two).unwrap());
    let archive = std::fs::read(one.path().join("out.upd")).unwrap();
    assert_eq!(archive, std::fs::read(two.path().join("out.upd")).unwrap());
    assert!(!one.path().join("out.upd.partial").exists());
    let found = scan_of(&archive);
    let (_, member) = found.payloads().next().unwrap();
    let member = member.unwrap();
    let tar = &archive[member.offset as usize..(member.offset + member.length) as usize];
    let mut listing = Listing::default();
    read_tree(tar, &mut listing).unwrap();
    assert_eq!(listing.0, ["bin/", "bin/tool* #!/bin/sh", "version one"]);
    // Cut anywhere, it is never read to its end.
    for length in (0..tar.len()).step_by(100) {
        assert!(matches!(read_tree(&tar[..length], &mut Listing::default()), Err(TreeError::Flaw(_))), "{length}");
    }
}

#[test]
fn a_folder_with_a_link_is_not_packed_and_neither_is_a_folder_for_an_image() {
    let linked = with_tree(|tree| std::os::unix::fs::symlink("/etc/passwd", tree.join("bin/link")).unwrap());
    let refused = quiet(&linked).unwrap_err();
    assert!(matches!(&refused, PackError::Source { path, .. } if path.ends_with("bin/link")), "{refused:?}");
    assert!(!linked.path().join("out.upd").exists());
    let tree = with_tree(|_| {});
    let nowhere = tree.path().join("no/out.upd");
    let refused = pack(tree.path(), &nowhere, &mut |_, _| {}).unwrap_err();
    assert!(matches!(&refused, PackError::Write { path, .. } if *path == nowhere), "{refused:?}");
    let dir = folder();
    let image = dir.path().join("payloads/rootfs.img");
    std::fs::remove_file(&image).unwrap();
    std::fs::create_dir(&image).unwrap();
    assert!(matches!(quiet(&dir), Err(PackError::NotFile { kind: "folder", .. })));
}
