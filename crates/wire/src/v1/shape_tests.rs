use fleet_types::Version;

use super::super::evidence::{BootEvidence, Tail};
use super::super::reports::Numbered;
use super::*;

fn update(edit: impl FnOnce(&mut UpdateReport)) -> Report {
    let mut update = UpdateReport {
        serial: 1,
        product: "till".parse().unwrap(),
        version: Version::new(1, 0, 0),
        payload: [1; 32].into(),
        from: None,
        state: UpdateState::Assigned,
        segments_done: 0,
        segments_total: 0,
        reason: None,
        proof: None,
        position: None,
        evidence: None,
    };
    edit(&mut update);
    Report::Update { terminal: "till-1".parse().unwrap(), update }
}

fn batch_at(at: &str, reports: Vec<(u64, Report)>) -> Batch {
    let at = at.parse().unwrap();
    let reports = reports.into_iter().map(|(seq, report)| Numbered { seq, at, report }).collect();
    Batch { epoch: uuid::Uuid::nil(), reports }
}

fn batch(reports: Vec<(u64, Report)>) -> Result<(), ShapeError> {
    check(&batch_at("2030-01-10T12:00:00Z", reports))
}

/// Asserts that the report is refused for exactly this field.
#[track_caller]
fn refused(report: Report, field: &str) {
    match batch(vec![(1, report)]) {
        Err(ShapeError::Field { field: found, .. }) => assert_eq!(found, field),
        other => panic!("{field}: {other:?}"),
    }
}

#[test]
fn numbers_rise_by_one_from_anywhere_but_zero() {
    let ok = || update(|_| {});
    assert_eq!(batch(vec![(7, ok()), (8, ok())]), Ok(()));
    assert_eq!(batch(vec![]), Ok(()));
    assert_eq!(batch(vec![(MAX_NUMBER, ok())]), Ok(()));
    for seqs in [&[0][..], &[7, 9], &[7, 7], &[8, 7], &[MAX_NUMBER, MAX_NUMBER + 1], &[u64::MAX]] {
        let error = batch(seqs.iter().map(|seq| (*seq, ok())).collect()).unwrap_err();
        assert!(matches!(error, ShapeError::Field { field: "seq", .. }), "{seqs:?}: {error:?}");
    }
    let many = (1..=MAX_BATCH as u64 + 1).map(|n| (n, ok())).collect();
    assert_eq!(batch(many), Err(ShapeError::TooLong(MAX_BATCH + 1)));
}

#[test]
fn times_are_within_what_the_database_holds() {
    let of = |at: &str| check(&batch_at(at, vec![(1, update(|_| {}))]));
    assert_eq!(of("1970-01-01T00:00:00Z"), Ok(()));
    for at in ["1969-12-31T23:59:59Z", "+10000-01-01T00:00:00Z"] {
        assert!(matches!(of(at), Err(ShapeError::Field { field: "at", .. })), "{at}");
    }
}

#[test]
fn numbers_and_proofs_of_an_update_are_bounded() {
    const NUMBERS: &str = "serial, segments_done, segments_total";
    refused(update(|u| u.segments_done = 1), NUMBERS);
    refused(update(|u| u.segments_total = u64::MAX), NUMBERS);
    refused(update(|u| u.serial = u64::MAX), NUMBERS);
    refused(update(|u| u.proof = Some("x".repeat(PROOF_DIGITS))), "proof");
    refused(update(|u| u.proof = Some("0".repeat(PROOF_DIGITS - 1))), "proof");
    assert_eq!(batch(vec![(1, update(|u| u.proof = Some("0".repeat(PROOF_DIGITS))))]), Ok(()));
}

#[test]
fn evidence_belongs_to_a_rolled_back_update() {
    let with = |state: UpdateState, tried: u32, proof: Option<String>| {
        let (boot_id, source, note) = (None, None, None);
        let slot = fleet_types::Slot::B;
        let evidence = BootEvidence { slot, tried, boot_id, source, note, lines: Tail::default(), proof };
        update(|u| (u.state, u.evidence) = (state, Some(evidence)))
    };
    let proof = || Some("0".repeat(PROOF_DIGITS));
    assert_eq!(batch(vec![(1, with(UpdateState::RolledBack, MAX_TRIED, proof()))]), Ok(()));
    refused(with(UpdateState::RolledBack, MAX_TRIED + 1, proof()), "evidence");
    refused(with(UpdateState::Failed, 1, proof()), "evidence");
    refused(with(UpdateState::RolledBack, 1, Some("0".to_owned())), "evidence");
}

#[test]
fn packages_bad_peers_and_facts_are_bounded() {
    let package = |edit: &dyn Fn(&mut PackageReport)| {
        let mut package = PackageReport {
            product: "tools".parse().unwrap(),
            version: Version::new(1, 0, 0),
            name: "tools".into(),
            payload: [1; 32].into(),
            have_bytes: 5,
            total_bytes: 5,
            complete: true,
            removed: false,
            trouble: None,
        };
        edit(&mut package);
        Report::Package { terminal: "till-1".parse().unwrap(), package }
    };
    assert_eq!(batch(vec![(1, package(&|_| {}))]), Ok(()));
    refused(package(&|p| p.have_bytes = 6), "have_bytes, total_bytes");
    refused(package(&|p| p.total_bytes = u64::MAX), "have_bytes, total_bytes");
    for name in ["", "../out", "Tools", &"x".repeat(MAX_PAYLOAD_NAME + 1)] {
        refused(package(&|p| p.name = name.into()), "name");
    }
    let bad_peer = |addresses: usize, wasted_bytes| Report::BadPeer {
        terminal: None,
        artifact: [1; 32].into(),
        addresses: vec![[10, 0, 0, 9].into(); addresses],
        wasted_bytes,
        certain: false,
    };
    assert_eq!(batch(vec![(1, bad_peer(MAX_ADDRESSES, 1))]), Ok(()));
    refused(bad_peer(MAX_ADDRESSES + 1, 1), "addresses, wasted_bytes");
    refused(bad_peer(1, u64::MAX), "addresses, wasted_bytes");
    let seen = |agent_version: &str, slot_bytes| {
        let (name, model) = ("till-1".parse().unwrap(), "k1".parse().unwrap());
        let facts = TerminalFacts { name, model, slot_bytes, data_bytes: 1, agent_version: agent_version.to_owned() };
        Report::TerminalSeen { facts, key: None }
    };
    assert_eq!(batch(vec![(1, seen("1.0.0", 1))]), Ok(()));
    for version in ["", "1\n", &"1".repeat(MAX_AGENT_VERSION + 1)] {
        refused(seen(version, 1), "agent_version");
    }
    refused(seen("1.0.0", u64::MAX), "slot_bytes, data_bytes");
}

#[test]
fn a_report_of_an_unknown_kind_has_no_shape() {
    let unknown = serde_json::from_str(r#"{"kind":"fan-speed","rpm":[18446744073709551615]}"#).unwrap();
    assert!(matches!(unknown, Report::Unknown(_)));
    assert_eq!(batch(vec![(1, unknown)]), Ok(()));
}

#[test]
fn reasons_have_a_code_and_a_bounded_text() {
    let of = |code: &str, text: &str| {
        let reason = Reason { code: code.into(), params: Default::default(), text: text.to_owned() };
        check_reason(&reason).map_err(|e| e.to_string()[..11].to_owned())
    };
    assert_eq!(of("unhealthy", "The check failed.\nLine two."), Ok(()));
    assert_eq!(of("Un healthy", "x"), Err("reason.code".to_owned()));
    assert_eq!(of("unhealthy", "a\0b"), Err("reason.text".to_owned()));
    assert_eq!(of("unhealthy", &"x".repeat(crate::MAX_REASON_LEN + 1)), Err("reason.text".to_owned()));
}
