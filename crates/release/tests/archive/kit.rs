//! Small releases, and tars built header by header.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use release::{
    BranchStore, Facts, Limits, Manifest, Policy, PreviousRelease, ReleaseKeys, Running, RunningVersion, Scan,
    SmallestSlot, StoreRoom, evaluate, scan,
};
use tar::Header;
use tempfile::TempDir;
use wire::v1::releases::{Finding, Verdict};

pub const TOML: &str = r#"
format = 1
product = "kiosk"
version = "2.4.0"
min_agent = "0.1.0"
requires = ">=2.2.0"
notes = "Fixes receipt printing"

[[payload]]
name = "rootfs"
kind = "slot-image"
compatible = ["kiosk-x86-64"]
file = "payloads/rootfs.img"
"#;

/// Bytes that begin as a squashfs of `len` bytes does.
pub fn squashfs(len: usize) -> Vec<u8> {
    let mut image: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
    image[..96].fill(0);
    image[..4].copy_from_slice(b"hsqs");
    image[28..30].copy_from_slice(&4u16.to_le_bytes());
    image[40..48].copy_from_slice(&(len as u64).to_le_bytes());
    image
}

pub fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// A folder with [`TOML`] and its image of 9,000 bytes.
pub fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("release.toml"), TOML.as_bytes());
    put(&dir.path().join("payloads/rootfs.img"), &squashfs(9000));
    dir
}

/// An archive that passes every rule.
pub fn good() -> Vec<u8> {
    let dir = folder();
    let out = dir.path().join("out.upd");
    release::pack(dir.path(), &out, &mut |_, _| {}).unwrap();
    std::fs::read(out).unwrap()
}

/// The manifest of [`good`], as text.
pub fn good_toml() -> String {
    let found = scan_of(&good());
    found.manifest().unwrap().to_toml().unwrap()
}

pub fn scan_of(bytes: &[u8]) -> Scan {
    scan(bytes, &Limits::default(), &mut |_| {}).unwrap()
}

/// A fleet that takes [`good`].
pub fn fleet() -> Facts {
    let slot = SmallestSlot { bytes: 10_000, terminals: vec![("north/till-1".parse().unwrap(), 10_000)] };
    Facts {
        models: Some([("kiosk-x86-64".parse().unwrap(), slot)].into()),
        published: Some(vec!["2.3.0".parse().unwrap(), "2.2.0".parse().unwrap()]),
        now: Some("2030-01-01T08:00:00Z".parse().unwrap()),
        withdrawn: Some(Vec::new()),
        running: Some(Running { versions: vec![runs(Some("2.3.0"), &["north/till-1"])], beyond: 0 }),
        steps: Some(Vec::new()),
        branches: Some(vec![store("north", Some((20_000, 10_000)))]),
        previous: Some(Some(PreviousRelease { version: "2.3.0".parse().unwrap(), bytes: 8000 })),
        release_keys: Some(ReleaseKeys::Holders { threshold: 2, keys: 3 }),
        external: None,
    }
}

/// Terminals that run the same.
pub fn runs(version: Option<&str>, terminals: &[&str]) -> RunningVersion {
    RunningVersion {
        version: version.map(|v| v.parse().unwrap()),
        terminals: terminals.len() as u64,
        some: terminals.iter().take(8).map(|t| t.parse().unwrap()).collect(),
    }
}

/// A branch with a terminal for [`good`], and what its store holds in all and now.
pub fn store(branch: &str, room: Option<(u64, u64)>) -> BranchStore {
    BranchStore {
        branch: branch.parse().unwrap(),
        models: vec!["kiosk-x86-64".parse().unwrap()],
        room: room.map(|(capacity_bytes, free_bytes)| StoreRoom { capacity_bytes, free_bytes }),
    }
}

pub fn judge(archive: &[u8], facts: &Facts, policy: &Policy, rule: &str) -> Finding {
    let report = evaluate(&scan_of(archive), facts, policy);
    let ids: Vec<&str> = report.findings.iter().map(|f| f.id.as_str()).collect();
    assert_eq!(ids, release::RULES.iter().map(|r| r.id).collect::<Vec<_>>(), "every rule is listed, always");
    let finding = report.findings.into_iter().find(|f| f.id == rule).unwrap();
    assert!(!finding.cause.is_empty());
    assert_eq!(finding.remedy.is_empty(), finding.verdict == Verdict::Pass, "{finding:?}");
    assert!(finding.cause.len() < 1000 && !finding.cause.contains('\n'), "{finding:?}");
    finding
}

#[track_caller]
pub fn expect(archive: &[u8], rule: &str, verdict: Verdict, says: &str) {
    let finding = judge(archive, &fleet(), &Policy::default(), rule);
    assert_eq!(finding.verdict, verdict, "{finding:?}");
    assert!(finding.cause.contains(says), "{:?} does not say {says:?}", finding.cause);
}

/// A tar built member by member; whatever is asked for is written.
#[derive(Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// Begins with the manifest.
    pub fn of(manifest: &str) -> Self {
        Self::default().file("release.toml", manifest.as_bytes())
    }

    /// What [`good`] consists of, not yet closed.
    pub fn good() -> Self {
        Self::of(&good_toml()).file("payloads/rootfs.img", &squashfs(9000))
    }

    pub fn file(self, name: &str, body: &[u8]) -> Self {
        self.member(name.as_bytes(), b'0', body)
    }

    pub fn member(self, name: &[u8], kind: u8, body: &[u8]) -> Self {
        self.header(name, kind, body.len() as u64).body(body)
    }

    pub fn header(mut self, name: &[u8], kind: u8, size: u64) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkflag[0] = kind;
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// Changes the header at `at` and makes its checksum right again.
pub fn edit_header(archive: &mut [u8], at: usize, edit: impl FnOnce(&mut [u8])) {
    let block = &mut archive[at..at + 512];
    edit(block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn parse(toml: &str) -> Result<Manifest, release::ManifestError> {
    Manifest::parse(toml.as_bytes())
}
