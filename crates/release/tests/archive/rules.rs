//! Every rule: pass, fail, unknown.

use release::{Facts, Policy, SmallestSlot, evaluate};
use wire::v1::releases::Verdict::{Fail, Pass, Unknown, Warn};

use super::kit::{Tar, expect, fleet, good, good_toml, judge, scan_of, squashfs};

const NO_MANIFEST: &str = "format = 1\nproduct = 5\n";

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

/// [`good`] cut off within its payload.
fn cut() -> Vec<u8> {
    let mut archive = good();
    archive.truncate(6000);
    archive
}

#[test]
fn a_good_archive_passes_every_rule() {
    let report = evaluate(&scan_of(&good()), &fleet(), &Policy::default());
    assert_eq!(report.verdict(), Pass, "{report:#?}");
    assert_eq!(report.findings.len(), 16);
}

#[test]
fn an_image_whose_kernel_has_no_sums_is_warned_of() {
    let mut scan = scan_of(&good());
    scan.members[0].kernel_unchecked = true;
    let report = evaluate(&scan, &fleet(), &Policy::default());
    let finding = report.findings.iter().find(|f| f.id == "image-sums").unwrap();
    assert_eq!((finding.verdict, report.verdict()), (Warn, Warn), "{report:#?}");
    assert!(finding.cause.contains("has a kernel and no sha256sums beside it"), "{finding:?}");
}

#[test]
fn without_facts_only_the_fleet_is_unknown() {
    let report = evaluate(&scan_of(&good()), &Facts::unknown(), &Policy::default());
    let unknown: Vec<_> = report.findings.iter().filter(|f| f.verdict == Unknown).map(|f| f.id.as_str()).collect();
    let fleet = ["version-newer", "upgrade-path", "compatible-known", "fits-slot", "branch-space", "size-growth"];
    assert_eq!(unknown[..6], fleet);
    assert_eq!(unknown[6..], ["signatures", "freeze-calendar"], "without a clock");
    assert_eq!(report.verdict(), Unknown);
    let here = Facts::at("2030-01-01T08:00:00Z".parse().unwrap());
    let report = evaluate(&scan_of(&good()), &here, &Policy::default());
    assert_eq!(report.findings.iter().filter(|f| f.verdict == Unknown).count(), 7);
}

#[test]
fn archive_shape() {
    expect(&good(), "archive-shape", Pass, "1 payload file");
    expect(&cut(), "archive-shape", Fail, "ends after 6000 bytes");
    expect(&Tar::of(NO_MANIFEST).end(), "archive-shape", Unknown, "Without a manifest");
}

#[test]
fn manifest_schema() {
    expect(&good(), "manifest-schema", Pass, "kiosk 2.4.0, 1 payload.");
    expect(&Tar::of(NO_MANIFEST).end(), "manifest-schema", Fail, "line 2");
    expect(&Tar::default().file("other", b"x").end(), "manifest-schema", Fail, "does not start with release.toml");
    expect(b"", "manifest-schema", Unknown, "damaged before its manifest");
    let long = format!("{}\n# {}", good_toml(), "x".repeat(256 * 1024));
    expect(&Tar::of(&long).end(), "manifest-schema", Fail, "the limit is 262144");
}

#[test]
fn paths_safe() {
    expect(&good(), "paths-safe", Pass, "stays inside");
    expect(&Tar::good().file("../evil", b"x").end(), "paths-safe", Fail, "..");
    let manifest = good_toml().replace("payloads/rootfs.img", "../../etc/shadow");
    expect(&Tar::of(&manifest).end(), "paths-safe", Fail, "../../etc/shadow");
    expect(&Tar::of(&manifest).end(), "manifest-schema", Fail, "../../etc/shadow");
    expect(&cut(), "paths-safe", Unknown, "not all paths were checked");
}

#[test]
fn digests() {
    expect(&good(), "digests", Pass, "1 payload as stated");
    let mut other = squashfs(9000);
    other[5000] ^= 1;
    expect(&Tar::of(&good_toml()).file("payloads/rootfs.img", &other).end(), "digests", Fail, "SHA-256");
    let shorter = Tar::of(&good_toml()).file("payloads/rootfs.img", &squashfs(8999)).end();
    expect(&shorter, "digests", Fail, "has 8999 bytes, but release.toml states 9000");
    expect(&cut(), "digests", Unknown, "rootfs");
    expect(&Tar::of(NO_MANIFEST).end(), "digests", Unknown, "no valid manifest");
}

#[test]
fn image_magic() {
    expect(&good(), "image-magic", Pass, "1 slot image");
    expect(
        &Tar::of(&good_toml()).file("payloads/rootfs.img", &[7; 9000]).end(),
        "image-magic",
        Fail,
        "not a known file system",
    );
    let mut says_more = squashfs(9000);
    says_more[40..48].copy_from_slice(&9001u64.to_le_bytes());
    let archive = Tar::of(&good_toml()).file("payloads/rootfs.img", &says_more).end();
    expect(&archive, "image-magic", Fail, "of 9001 bytes, but the file has 9000");
    expect(&cut(), "image-magic", Unknown, "rootfs");
    let only_ext4 = policy("[image-magic]\nfile_systems = [\"ext4\"]\n");
    let finding = judge(&good(), &fleet(), &only_ext4, "image-magic");
    assert_eq!((finding.verdict, finding.cause.contains("squashfs")), (Fail, true), "{finding:?}");
}

#[test]
fn version_newer() {
    expect(&good(), "version-newer", Pass, "newer than 2.3.0");
    let published =
        |versions: &[&str]| Facts { published: Some(versions.iter().map(|v| v.parse().unwrap()).collect()), ..fleet() };
    for (versions, policy_text, verdict) in [
        (&[][..], "", Pass),
        (&["2.4.0"], "", Fail),
        (&["2.4.0-rc.1"], "", Pass),
        (&["2.10.0", "2.3.0"], "", Fail),
        (&["2.10.0", "2.3.0"], "[version-newer]\nolder_lines = true\n", Pass),
        (&["2.10.0", "2.4.0"], "[version-newer]\nolder_lines = true\n", Fail),
    ] {
        let finding = judge(&good(), &published(versions), &policy(policy_text), "version-newer");
        assert_eq!(finding.verdict, verdict, "{versions:?} {finding:?}");
    }
    let finding = judge(&good(), &Facts { published: None, ..fleet() }, &Policy::default(), "version-newer");
    assert_eq!(finding.verdict, Unknown);
    // A version that was withdrawn stands for its content.
    let other = Facts { withdrawn: Some(vec![[("rootfs".to_owned(), [9; 32].into())].into()]), ..fleet() };
    let finding = judge(&good(), &other, &Policy::default(), "version-newer");
    assert_eq!((finding.verdict, finding.cause.contains("published with other content")), (Fail, true), "{finding:?}");
    expect(&Tar::of(NO_MANIFEST).end(), "version-newer", Unknown, "no valid manifest");
}

#[test]
fn compatible_known() {
    expect(&good(), "compatible-known", Pass, "kiosk-x86-64");
    let others = Facts { models: Some([("till".parse().unwrap(), SmallestSlot::new(1))].into()), ..fleet() };
    let finding = judge(&good(), &others, &Policy::default(), "compatible-known");
    assert_eq!(finding.verdict, Fail);
    assert_eq!(finding.cause, "The fleet has no model kiosk-x86-64; it has: till.");
    let declared = policy("[models]\nkiosk-x86-64 = { slot_bytes = 10000 }\n");
    assert_eq!(judge(&good(), &others, &declared, "compatible-known").verdict, Pass);
    let unknown = Facts { models: None, ..fleet() };
    assert_eq!(judge(&good(), &unknown, &declared, "compatible-known").verdict, Unknown);
}

#[test]
fn fits_slot() {
    expect(&good(), "fits-slot", Pass, "fits");
    let slot = |bytes| Facts { models: Some([("kiosk-x86-64".parse().unwrap(), bytes)].into()), ..fleet() };
    let terminals = [("north/till-1", 8000), ("east/till-2", 8999), ("north/till-3", 9000)];
    let terminals = terminals.map(|(terminal, bytes)| (terminal.parse().unwrap(), bytes)).to_vec();
    let named = SmallestSlot { bytes: 8999, terminals };
    let finding = judge(&good(), &slot(named), &Policy::default(), "fits-slot");
    assert_eq!(finding.verdict, Fail);
    assert!(finding.cause.contains("needs 8.8 KiB, ") && finding.cause.contains("north/till-1 with "), "{finding:?}");
    assert!(finding.cause.contains("east/till-2") && !finding.cause.contains("till-3"), "{finding:?}");
    assert!(finding.remedy.contains("filial terminal remove"), "{finding:?}");

    let exact = slot(SmallestSlot::new(9000));
    assert_eq!(judge(&good(), &exact, &Policy::default(), "fits-slot").verdict, Pass);
    let headroom = policy("[fits-slot]\nheadroom_bytes = 1\n");
    assert_eq!(judge(&good(), &exact, &headroom, "fits-slot").verdict, Fail);
    let smaller = policy("[models]\nkiosk-x86-64 = { slot_bytes = 10 }\n");
    assert_eq!(judge(&good(), &exact, &smaller, "fits-slot").verdict, Fail, "the smaller of both counts");

    let nobody = Facts { models: Some([].into()), ..fleet() };
    let finding = judge(&good(), &nobody, &Policy::default(), "fits-slot");
    assert_eq!((finding.verdict, finding.cause.contains("kiosk-x86-64")), (Unknown, true), "{finding:?}");
    assert_eq!(judge(&good(), &Facts::unknown(), &Policy::default(), "fits-slot").verdict, Unknown);
}

#[test]
fn notes_present() {
    expect(&good(), "notes-present", Pass, "22 characters");
    let silent = Tar::of(&good_toml().replace("Fixes receipt printing", " \\n ")).end();
    expect(&silent, "notes-present", Fail, "0 characters");
    expect(&Tar::of(NO_MANIFEST).end(), "notes-present", Unknown, "no valid manifest");
    let wordy = policy("[notes-present]\nmin_characters = 23\n");
    assert_eq!(judge(&good(), &fleet(), &wordy, "notes-present").verdict, Fail);
}
