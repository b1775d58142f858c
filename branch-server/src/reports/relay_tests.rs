use super::*;
use fleet_types::{UpdateState, Version};
use wire::ReasonCode;
use wire::v1::reports::{PackageReport, UpdateReport};

fn at(second: u32) -> DateTime<Utc> {
    format!("2030-01-10T12:00:{second:02}Z").parse().unwrap()
}

fn update(state: UpdateState, from: Option<UpdateState>, done: u64) -> Report {
    let update = UpdateReport {
        serial: 7,
        product: "till".parse().unwrap(),
        version: Version::new(2, 0, 0),
        payload: [2; 32].into(),
        from,
        state,
        segments_done: done,
        segments_total: 10,
        reason: None,
        proof: None,
        position: None,
        evidence: None,
    };
    Report::Update { terminal: "till-1".parse().unwrap(), update }
}

fn artifact(have_bytes: u64, complete: bool, trouble: Option<&str>) -> Report {
    Report::Artifact { artifact: [1; 32].into(), have_bytes, complete, trouble: trouble.map(|t| Reason::new("x", t)) }
}

fn waits(report: Report) -> Numbered {
    Numbered { seq: 4, at: at(1), report }
}

#[test]
fn progress_within_a_state_is_folded_and_keeps_the_move_and_its_time() {
    use UpdateState::{Assigned, Fetching};
    let waiting = waits(update(Fetching, Some(Assigned), 0));
    let folded = fold(&waiting, at(9), &update(Fetching, Some(Fetching), 5)).unwrap();
    assert_eq!(folded, Numbered { seq: 4, at: at(1), report: update(Fetching, Some(Assigned), 5) });
}

#[test]
fn a_move_is_never_folded_away() {
    use UpdateState::{Assigned, Fetching, Installing};
    let waiting = waits(update(Fetching, Some(Assigned), 10));
    assert_eq!(fold(&waiting, at(9), &update(Installing, Some(Fetching), 10)), None);
}

#[test]
fn of_a_package_only_the_newest_waits() {
    let package = |name: &str, trouble: bool| {
        let package = PackageReport {
            product: "tools".parse().unwrap(),
            version: Version::new(1, 0, 0),
            name: name.to_owned(),
            payload: [3; 32].into(),
            have_bytes: 5,
            total_bytes: 10,
            complete: false,
            removed: false,
            trouble: trouble.then(|| Reason::new("data-full", "make room")),
        };
        Report::Package { terminal: "till-1".parse().unwrap(), package }
    };
    let waiting = waits(package("tools", true));
    let folded = fold(&waiting, at(9), &package("tools", false)).unwrap();
    assert_eq!(folded, Numbered { seq: 4, at: at(9), report: package("tools", false) });
    assert_eq!(fold(&waiting, at(9), &package("other", true)), None);
}

#[test]
fn of_the_room_in_the_store_only_the_newest_waits() {
    let store = |free_bytes| Report::Store { capacity_bytes: 9, free_bytes, held_bytes: 0 };
    let folded = fold(&waits(store(5)), at(9), &store(4)).unwrap();
    assert_eq!(folded, Numbered { seq: 4, at: at(9), report: store(4) });
}

#[test]
fn another_payload_or_serial_is_not_the_same_update() {
    let waiting = waits(update(UpdateState::Fetching, None, 1));
    let mut other = update(UpdateState::Fetching, None, 1);
    let Report::Update { update, .. } = &mut other else { unreachable!() };
    update.serial = 8;
    update.reason = Some(Reason::new("x", "y"));
    assert_eq!(fold(&waiting, at(9), &other), None);
}

#[test]
fn an_artifacts_progress_is_folded_but_not_its_trouble_or_completion() {
    let waiting = waits(artifact(5, false, None));
    assert_eq!(fold(&waiting, at(9), &artifact(6, false, None)).unwrap().report, artifact(6, false, None));
    assert_eq!(fold(&waiting, at(9), &artifact(6, false, Some("stuck"))), None);
    assert_eq!(fold(&waiting, at(9), &artifact(6, true, None)), None);
    let full = |free: u64| {
        let trouble = Some(Reason::of(ReasonCode::StoreFull).with("free", free).with("needed", 9_u64 << 30));
        Report::Artifact { artifact: [1; 32].into(), have_bytes: 5, complete: false, trouble }
    };
    let waiting = waits(full(2 << 30));
    assert_eq!(fold(&waiting, at(9), &full((2 << 30) + 1)).unwrap().report, full((2 << 30) + 1), "reads the same");
    assert_eq!(fold(&waiting, at(9), &full(1 << 30)).unwrap().report, full(1 << 30), "free space is no news");
    assert_eq!(fold(&waiting, at(9), &update(UpdateState::Assigned, None, 0)), None);
}

#[test]
fn the_same_bad_peer_again_is_one_report_with_the_bytes_of_both() {
    let bad = |address: u8, wasted_bytes| Report::BadPeer {
        terminal: Some("till-1".parse().unwrap()),
        artifact: [1; 32].into(),
        addresses: vec![[10, 0, 0, address].into()],
        wasted_bytes,
        certain: true,
    };
    let waiting = Numbered { seq: 3, at: at(1), report: bad(9, 5) };
    assert_eq!(fold(&waiting, at(2), &bad(9, 7)).unwrap().report, bad(9, 12));
    assert_eq!(fold(&waiting, at(2), &bad(8, 7)), None, "another address is another report");
    let full = Numbered { report: bad(9, MAX_NUMBER - 1), ..waiting };
    assert_eq!(fold(&full, at(2), &bad(9, 1)).unwrap().report, bad(9, MAX_NUMBER));
    assert_eq!(fold(&full, at(2), &bad(9, 2)), None, "head office would refuse the sum, and the batch with it");
}
