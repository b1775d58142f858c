//! What is written is read back the same, and whatever the bytes are there is an answer. Beside each parser stand its
//! own properties (`crates/*/tests`); here are those that need several crates, or a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use artifact::{EncodeOptions, FileRange, Index, PayloadId};
use bootslot::{BootSlots, BootState, GrubEnv, Trial};
use fleet_types::{Digest, Slot};
use fuzz::TARGETS;
use hostile::{Tar, good_manifest};
use proptest::prelude::*;
use release::{Limits, scan};
use service_kit::config::load_with;
use sha2::{Digest as _, Sha256};
use swarm::Torrent;
use wire::v1::plan::Plan;
use wire::{Envelope, PLAN_PAYLOAD_TYPE, Signature};

fn put(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

fn trials() -> impl Strategy<Value = BootState> {
    (any::<bool>(), prop::option::of(0..=bootslot::MAX_ATTEMPTS)).prop_map(|(a, left)| {
        let (default, slot) = if a { (Slot::A, Slot::B) } else { (Slot::B, Slot::A) };
        BootState { default, trial: left.map(|left| Trial { slot, left }) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        for target in TARGETS {
            (target.run)(&bytes);
        }
    }

    #[test]
    fn any_text_has_an_answer(text in "\\PC{0,300}") {
        for target in TARGETS {
            (target.run)(text.as_bytes());
        }
    }

    #[test]
    fn what_an_archive_holds_is_found_where_it_lies(
        bodies in prop::collection::btree_map("[a-z]{1,20}(/[a-z]{1,20}){0,3}", prop::collection::vec(any::<u8>(), 0..2000), 0..8),
        long in any::<bool>(),
    ) {
        let mut tar = Tar::of(&good_manifest());
        for (name, body) in &bodies {
            tar = if long { tar.long_name(name.as_bytes()).file("cut", body) } else { tar.pax("path", name).file("cut", body) };
        }
        let archive = tar.end();
        let found = scan(&archive[..], &Limits::default(), &mut |_| {}).unwrap();
        prop_assert!(found.complete, "{:?}", found.flaws);
        let read: BTreeMap<String, Vec<u8>> = found.members.iter().map(|m| {
            let body = archive[m.offset as usize..][..m.length as usize].to_vec();
            assert_eq!(sha256(&body), m.sha256);
            (m.path.to_string(), body)
        }).collect();
        prop_assert_eq!(read, bodies);
    }

    #[test]
    fn a_torrent_of_any_content_is_read_back_and_other_content_is_another_torrent(
        content in prop::collection::vec(any::<u8>(), 1..200_000), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        put(&path, &content);
        let made = swarm::create(&path, "x.seg", None, &mut |_| {}).unwrap();
        prop_assert_eq!(made.sha256, sha256(&content));
        let file = made.torrent.to_file(&[vec!["http://10.0.0.1/announce".into()]]);
        let read = Torrent::parse(&file).unwrap();
        prop_assert_eq!(read.info_hash(), made.torrent.info_hash());
        prop_assert!(read.check_carries("x.seg", content.len() as u64).is_ok());
        let verified = read.verify(&path, &mut |_| {}).unwrap();
        prop_assert!(verified.is_good());
        let mut changed = file.clone();
        changed[at.index(file.len())] ^= 1 << bit;
        if let Ok(other) = Torrent::parse(&changed) {
            // Under one hash there is one content, whatever stands around it.
            let content = |t: &Torrent| (t.name().to_owned(), t.length(), t.piece_length(), t.is_private());
            prop_assert!(other.info_hash() != read.info_hash() || content(&other) == content(&read));
        }
    }

    #[test]
    fn segments_come_out_as_they_went_in_in_any_order(
        seed in any::<u64>(), length in 1..300_000usize, order in any::<u32>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let payload: Vec<u8> = (0..length).map(|i| if i / 70_000 % 2 == 0 { 0 } else { ((i as u64).wrapping_mul(seed | 1) >> 7) as u8 }).collect();
        let (source, work, out) = (dir.path().join("payload"), dir.path().join("work"), dir.path().join("artifact"));
        put(&source, &payload);
        std::fs::create_dir(&work).unwrap();
        let id = PayloadId { sha256: sha256(&payload), length: length as u64 };
        let options = EncodeOptions { segment_size: 64 << 10, level: 1, workers: 1 };
        let source = FileRange::whole(File::open(&source).unwrap()).unwrap();
        artifact::encode(&source, id, &work, &out, &options, &|_| {}, &|| false).unwrap();
        let file = File::open(&out).unwrap();
        let index = Index::read_from(&mut &file).unwrap();
        prop_assert_eq!(index.payload(), id);
        let mut back = vec![0xaa; length];
        let (mut frame, mut segment) = (Vec::new(), Vec::new());
        let count = index.segments().len() as u64;
        for i in 0..count {
            let s = index.segment((i + u64::from(order)) % count).unwrap();
            s.read_frame(&file, &mut frame).unwrap();
            index.decode(s.number, &frame, &mut segment).unwrap();
            back[s.payload_offset as usize..][..segment.len()].copy_from_slice(&segment);
        }
        prop_assert!(back == payload);
    }

    #[test]
    fn an_envelope_carries_any_bytes(
        kind in "[a-z/+.]{1,40}", payload in prop::collection::vec(any::<u8>(), 0..3000), signed in 0..17usize,
    ) {
        let mut envelope = Envelope::unsigned(&kind, &payload).unwrap();
        envelope.signatures = vec![Signature { keyid: "k".into(), sig: "AAAA".into() }; signed];
        let read = Envelope::parse(&serde_json::to_vec(&envelope).unwrap()).unwrap();
        prop_assert_eq!(&read, &envelope);
        prop_assert_eq!(read.open::<Vec<u8>>(PLAN_PAYLOAD_TYPE).is_ok(), kind == PLAN_PAYLOAD_TYPE && signed <= 16);
    }

    #[test]
    fn a_plan_is_read_as_it_was_written_or_not_at_all(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = hostile::good_plan();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(plan) = serde_json::from_slice::<Plan>(&bytes) {
            let again: Plan = serde_json::from_slice(&serde_json::to_vec(&plan).unwrap()).unwrap();
            prop_assert_eq!(again, plan);
        }
    }

    #[test]
    fn a_boot_state_survives_among_the_variables_of_others(
        states in prop::collection::vec(trials(), 1..5),
        others in prop::collection::btree_map("[a-z]{1,12}", "[ -\\[\\]-~]{0,20}", 0..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grubenv");
        let lines: String = others.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
        let mut block = format!("# GRUB Environment Block\nfilial_default=A\nfilial_trial=\nfilial_trial_left=0\n{lines}").into_bytes();
        block.resize(bootslot::BLOCK_SIZE, b'#');
        put(&path, &block);
        let env = GrubEnv::new(&path);
        for state in &states {
            env.write(state).unwrap();
            prop_assert_eq!(&env.read().unwrap(), state);
        }
        let text = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
        prop_assert!(text.contains(&lines), "{text}");
    }

    #[test]
    fn a_damaged_boot_block_is_read_or_refused(at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 1..40)) {
        let mut block = hostile::good_block();
        let at = at.index(block.len() - bytes.len());
        block[at..at + bytes.len()].copy_from_slice(&bytes);
        let _ = bootslot::read_block(&block);
    }

    #[test]
    fn configuration_fragments_merge_or_are_refused(fragments in prop::collection::vec("[a-c\\[\\]{}.=0-9\" \n#]{0,80}", 0..4)) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..fragments.len()).map(|i| dir.path().join(format!("{i}.toml"))).collect();
        paths.iter().zip(&fragments).for_each(|(path, text)| put(path, text.as_bytes()));
        let read = load_with::<toml::Table>("fuzz", &paths, []);
        let all_are_toml = fragments.iter().all(|text| text.parse::<toml::Table>().is_ok());
        if !fragments.is_empty() {
            prop_assert_eq!(read.is_ok(), all_are_toml, "{:?}", read);
        }
    }
}
