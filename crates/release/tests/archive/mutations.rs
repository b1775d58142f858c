//! Whatever the bytes are: an answer, never a panic, and never more than the bytes that were there.

use proptest::prelude::*;
use release::{Policy, RULES, evaluate};

use super::kit::{Tar, edit_header, fleet, good, scan_of, squashfs};

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let found = scan_of(bytes);
    prop_assert!(found.length <= bytes.len() as u64);
    for member in &found.members {
        // What is said of a member is what lies at its place.
        let end = member.offset + member.length;
        prop_assert!(end <= bytes.len() as u64);
        prop_assert!(!member.path.as_str().starts_with('/') && !member.path.as_str().contains(".."));
    }
    prop_assert_eq!(evaluate(&found, &fleet(), &Policy::default()).findings.len(), RULES.len());
    Ok(())
}

proptest! {
    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        check(&bytes)?;
    }

    #[test]
    fn flipped_bytes(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut archive = good();
        for (at, value) in flips {
            let at = at.index(archive.len());
            archive[at] = value;
        }
        check(&archive)?;
    }

    #[test]
    fn headers_with_a_right_checksum(
        which in 0..2usize,
        edits in proptest::collection::vec((0..512usize, any::<u8>()), 1..12),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut archive = good();
        let at = if which == 0 { 0 } else { archive.len() - 1024 - 9216 - 512 };
        edit_header(&mut archive, at, |h| edits.iter().for_each(|(i, v)| h[*i] = *v));
        if let Some(cut) = cut {
            let len = cut.index(archive.len());
            archive.truncate(len);
        }
        check(&archive)?;
    }

    #[test]
    fn members_in_any_order_and_kind(
        members in proptest::collection::vec(
            ("(release.toml|payloads|payloads/rootfs.img|\\./x|\\.\\./x|)", any::<u8>(), 0..600usize), 0..8),
        closed: bool,
    ) {
        let mut tar = Tar::default();
        for (name, kind, len) in &members {
            tar = tar.member(name.as_bytes(), *kind, &squashfs(600)[..*len]);
        }
        let bytes = if closed { tar.end() } else { tar.0 };
        check(&bytes)?;
    }
}
