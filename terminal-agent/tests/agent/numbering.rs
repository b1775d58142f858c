//! The numbering of reports went back, or another machine continued it: no report is lost by it.

use fleet_types::UpdateState as U;
use wire::Code;
use wire::v1::reports::Report;

use crate::support::release::{v1, v2};
use crate::support::{Cut, Rig};

/// The terminal's data was restored from a copy, and the branch server has later reports of its numbering.
#[test]
fn acknowledgement_beyond_what_was_sent_costs_no_report() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("fetching");
    let epoch = rig.world.lock().epochs[0];
    rig.world.lock().continued = Some((epoch, Ok(4000)));
    rig.until("ready");
    // What was decided is on the disk.
    rig.cut(Cut::Process);
    rig.until("confirmed");
    rig.turns(5);
    assert_eq!(rig.world.lock().epochs.len(), 2);
    rig.world.assert_reported(&[U::Installing, U::Ready, U::Activating, U::Trying, U::Confirmed]);
    let tells = |report: &Report| matches!(report, Report::NumbersReused { terminal: Some(_), times: 1 });
    assert_eq!(
        rig.world.lock().reports.iter().filter(|n| tells(&n.report)).count(),
        1,
        "the branch server could not notice"
    );
}

/// The branch server knows other reports under the same numbers.
#[test]
fn reused_numbers_are_given_again_and_no_report_is_lost() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("fetching");
    let epoch = rig.world.lock().epochs[0];
    rig.world.lock().continued = Some((epoch, Err(Code::NumberReused)));
    rig.until("confirmed");
    rig.turns(5);
    assert_eq!(rig.world.lock().epochs.len(), 2);
    rig.world.assert_reported(&[U::Installing, U::Ready, U::Activating, U::Trying, U::Confirmed]);
}
