//! Checks terminals' reports before the database is asked: their shape, and that a terminal reports about itself.

use fleet_types::TerminalName;
use service_kit::server::ApiError;
use wire::Code;
use wire::v1::reports::{Batch, Report};
use wire::v1::shape;

/// Checks a batch of `terminal`.
///
/// # Errors
/// The first field that is not valid, or that another terminal is named.
pub fn check(terminal: &TerminalName, batch: &Batch) -> Result<(), ApiError> {
    shape::check(batch)?;
    batch.reports.iter().try_for_each(|numbered| check_report(terminal, &numbered.report))
}

fn check_report(terminal: &TerminalName, report: &Report) -> Result<(), ApiError> {
    let (about, reason) = match report {
        Report::TerminalSeen { key: Some(_), .. } => {
            return Err(ApiError::bad_field("key", "is reported by the branch server, which certified it"));
        }
        Report::TerminalSeen { facts, key: None } => (&facts.name, None),
        Report::Running { terminal, .. } => (terminal, None),
        Report::Update { terminal, update } => (terminal, update.reason.as_ref()),
        Report::Package { terminal, package } => (terminal, package.trouble.as_ref()),
        Report::TerminalRefusesPlan { terminal, reason } => (terminal, reason.as_ref()),
        Report::BadPeer { terminal: Some(terminal), .. } | Report::NumbersReused { terminal: Some(terminal), .. } => {
            (terminal, None)
        }
        Report::BadPeer { terminal: None, .. } | Report::NumbersReused { terminal: None, .. } => {
            return Err(ApiError::bad_field("terminal", "must name the reporting terminal"));
        }
        Report::Artifact { .. } | Report::Store { .. } | Report::TerminalDenied { .. } | Report::AuditHead { .. } => {
            return Err(ApiError::bad_field("kind", "is reported by branch servers, not by terminals"));
        }
        // Of a newer terminal: acknowledged and skipped.
        Report::Unknown(_) => (terminal, None),
        Report::PlanRefused { .. } => {
            return Err(ApiError::bad_field("kind", "plan-refused is reported by branch servers, not by terminals"));
        }
    };
    reason.map_or(Ok(()), shape::check_reason)?;
    if about == terminal {
        return Ok(());
    }
    let detail = format!("Terminal {terminal} may not report about {about}.");
    Err(ApiError::new(Code::NotYourself, detail, "Report about yourself only."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{Slot, UpdateState, Version};
    use wire::v1::reports::{Numbered, PackageReport, Reason, UpdateReport};

    fn till() -> TerminalName {
        "till-1".parse().unwrap()
    }

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
        Report::Update { terminal: till(), update }
    }

    fn batch(reports: Vec<(u64, Report)>) -> Batch {
        let at = "2030-01-10T12:00:00Z".parse().unwrap();
        let reports = reports.into_iter().map(|(seq, report)| Numbered { seq, at, report }).collect();
        Batch { epoch: uuid::Uuid::nil(), reports }
    }

    fn code(reports: Vec<(u64, Report)>) -> Option<Code> {
        check(&till(), &batch(reports)).err().map(|e| e.code())
    }

    #[test]
    fn a_terminal_speaks_for_itself_only() {
        let other =
            Report::Running { terminal: "till-2".parse().unwrap(), slot: Slot::A, version: Version::new(1, 0, 0) };
        assert_eq!(code(vec![(1, other)]), Some(Code::NotYourself));
        let artifact = Report::Artifact { artifact: [1; 32].into(), have_bytes: 1, complete: true, trouble: None };
        assert_eq!(code(vec![(1, artifact)]), Some(Code::BadField));
        let store = Report::Store { capacity_bytes: 1, free_bytes: 1, held_bytes: 0 };
        assert_eq!(code(vec![(1, store)]), Some(Code::BadField));
        let allowed = Report::TerminalDenied { terminal: till(), denied: false };
        assert_eq!(code(vec![(1, allowed)]), Some(Code::BadField));
        let bad_peer = |terminal: Option<&str>| Report::BadPeer {
            terminal: terminal.map(|t| t.parse().unwrap()),
            artifact: [1; 32].into(),
            addresses: vec![[10, 0, 0, 9].into()],
            wasted_bytes: 1,
            certain: false,
        };
        assert_eq!(code(vec![(1, bad_peer(Some("till-1")))]), None);
        assert_eq!(code(vec![(1, bad_peer(Some("till-2")))]), Some(Code::NotYourself));
        assert_eq!(code(vec![(1, bad_peer(None))]), Some(Code::BadField));
    }

    #[test]
    fn a_package_is_of_its_terminal_and_bounded() {
        let package = |terminal: &str, edit: &dyn Fn(&mut PackageReport)| {
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
            code(vec![(1, Report::Package { terminal: terminal.parse().unwrap(), package })])
        };
        assert_eq!(package("till-1", &|_| {}), None);
        assert_eq!(package("till-2", &|_| {}), Some(Code::NotYourself));
        assert_eq!(package("till-1", &|p| p.have_bytes = 6), Some(Code::BadField), "the shape is checked");
        let trouble = Reason { code: "data-full".into(), params: Default::default(), text: "x".repeat(1025) };
        assert_eq!(package("till-1", &|p| p.trouble = Some(trouble.clone())), Some(Code::BadField));
    }

    #[test]
    fn a_refusal_of_a_plan_is_of_its_terminal_and_bounded() {
        let refuses = |terminal: &str, reason: Option<Reason>| {
            code(vec![(1, Report::TerminalRefusesPlan { terminal: terminal.parse().unwrap(), reason })])
        };
        assert_eq!(refuses("till-1", Some(Reason::new("plan-expired", "It is over."))), None);
        assert_eq!(refuses("till-1", None), None);
        assert_eq!(refuses("till-2", None), Some(Code::NotYourself));
        let long = Reason { code: "plan-expired".into(), params: Default::default(), text: "x".repeat(1025) };
        assert_eq!(refuses("till-1", Some(long)), Some(Code::BadField));
    }

    #[test]
    fn reasons_of_an_update_are_bounded() {
        let reason = |text: &str| {
            let reason = Reason { code: "unhealthy".into(), params: Default::default(), text: text.to_owned() };
            code(vec![(1, update(|u| u.reason = Some(reason)))])
        };
        assert_eq!(reason("The check failed.\nLine two."), None);
        assert_eq!(reason(&"x".repeat(1025)), Some(Code::BadField));
    }
}
