//! What head office sends is checked piece by piece.

use wire::v1::plan::Step;

use super::*;

#[allow(dead_code, reason = "shared with the tests of the routes")]
#[path = "../../tests/api/fixture.rs"]
mod fixture;
use fixture::{Fixture, WAN_TRACKER};

const LAN: &str = "http://192.168.10.2:6969/announce";

fn wanted(step: &Step) -> Wanted {
    Wanted {
        artifact: step.artifact.clone(),
        payload: step.payload.clone(),
        manifest: step.manifest,
        product: step.product.clone(),
        version: step.version.clone(),
    }
}

#[test]
fn what_the_plan_names_is_taken() {
    let f = Fixture::new(1);
    let w = wanted(&f.step);
    check_manifest(&w.manifest, &f.manifest).unwrap();
    check_index(&w, &f.index).unwrap();
    check_torrent(&w, &f.torrent).unwrap();
}

#[test]
fn one_wrong_byte_of_manifest_or_index_is_refused() {
    let f = Fixture::new(1);
    let w = wanted(&f.step);
    let mut manifest = f.manifest.clone();
    manifest[0] ^= 1;
    assert!(matches!(check_manifest(&w.manifest, &manifest), Err(DescribeError::Differs { what: "manifest", .. })));
    for change in [|i: &mut Vec<u8>| i[40] ^= 1, |i: &mut Vec<u8>| i.push(0), |i: &mut Vec<u8>| i.truncate(i.len() - 1)]
    {
        let mut index = f.index.clone();
        change(&mut index);
        assert!(matches!(check_index(&w, &index), Err(DescribeError::Differs { what: "index of artifact", .. })));
    }
}

#[test]
fn an_index_of_another_payload_or_length_is_refused_although_its_digest_is_right() {
    let f = Fixture::new(1);
    let mut w = wanted(&f.step);
    w.payload.length += 1;
    assert!(matches!(check_index(&w, &f.index), Err(DescribeError::Index { .. })));
    let mut w = wanted(&f.step);
    w.artifact.length += 1;
    assert!(matches!(check_index(&w, &f.index), Err(DescribeError::Length { .. })));
}

#[test]
fn another_torrent_is_refused_and_the_refusal_says_what_differs() {
    let (f, other) = (Fixture::new(1), Fixture::new(2));
    let why = |w: &Wanted, torrent: &[u8]| check_torrent(w, torrent).unwrap_err().to_string();
    assert!(why(&wanted(&f.step), &other.torrent).contains("info hash"));
    let mut renamed = wanted(&f.step);
    renamed.artifact.sha256 = other.step.artifact.sha256;
    assert!(why(&renamed, &f.torrent).contains("name"));
    let mut longer = wanted(&f.step);
    longer.artifact.length += 1;
    assert!(why(&longer, &f.torrent).contains("another length"));
    let trackerless = Torrent::parse(&f.torrent).unwrap().to_file(&[]);
    assert!(why(&wanted(&f.step), &trackerless).contains("tracker"));
    assert!(why(&wanted(&f.step), b"not a torrent").contains("cannot be read"));
}

#[test]
fn one_info_dictionary_three_sets_of_trackers() {
    let f = Fixture::new(1);
    let own = Torrent::parse(&own_torrent(&f.torrent, LAN).unwrap()).unwrap();
    let lan = Torrent::parse(&lan_torrent(&f.torrent, LAN).unwrap()).unwrap();
    assert_eq!(own.tiers(), [[WAN_TRACKER], [LAN]]);
    assert_eq!(lan.tiers(), [[LAN]]);
    assert_eq!((own.info_hash(), lan.info_hash()), (f.step.artifact.info_hash, f.step.artifact.info_hash));
    assert!(own.is_private() && lan.is_private());
    // Composed from a torrent that names the branch's tracker already, it is not named twice.
    let again = own_torrent(&own_torrent(&f.torrent, LAN).unwrap(), LAN).unwrap();
    assert_eq!(Torrent::parse(&again).unwrap().tiers(), [[WAN_TRACKER], [LAN]]);
}
