//! Checks the shape of terminals' reports: everything that needs no database.

use chrono::Datelike;
use fleet_types::{TerminalName, UpdateState};
use service_kit::server::ApiError;
use wire::Code;
use wire::v1::evidence::MAX_TRIED;
use wire::v1::reports::{
    Batch, MAX_ADDRESSES, MAX_BATCH, MAX_PAYLOAD_NAME, PackageReport, Reason, Report, UpdateReport,
};
use wire::v1::sync::TerminalFacts;

/// Longest version of an agent, in bytes.
const MAX_AGENT_VERSION: usize = 64;

/// Longest code of a reason, in bytes.
const MAX_REASON_CODE: usize = 64;

/// The years in which something may have happened: clocks of machines are wrong, but PostgreSQL must hold them.
const FIRST_YEAR: i32 = 1970;

/// See `FIRST_YEAR`.
const LAST_YEAR: i32 = 9999;

/// Largest number that a terminal may name: what the database holds.
const MAX_NUMBER: u64 = i64::MAX as u64;

/// Checks a batch of `terminal`.
///
/// # Errors
/// The first field that is not valid, or that another terminal is named.
pub fn check(terminal: &TerminalName, batch: &Batch) -> Result<(), ApiError> {
    if batch.reports.len() > MAX_BATCH {
        let detail = format!("The batch has {} reports; at most {MAX_BATCH} are accepted.", batch.reports.len());
        return Err(ApiError::new(Code::BatchTooLong, detail, "Send them in several batches."));
    }
    for (numbered, before) in batch.reports.iter().zip(std::iter::once(None).chain(batch.reports.iter().map(Some))) {
        if numbered.seq == 0 || numbered.seq > MAX_NUMBER {
            return Err(ApiError::bad_field("seq", format!("{} is not a valid report number", numbered.seq)));
        }
        if before.is_some_and(|before| numbered.seq != before.seq + 1) {
            return Err(ApiError::bad_field("seq", format!("{} does not follow the previous report", numbered.seq)));
        }
        if !(FIRST_YEAR..=LAST_YEAR).contains(&numbered.at.year()) {
            let why = format!("report {} is of the year {}", numbered.seq, numbered.at.year());
            return Err(ApiError::bad_field("at", format!("{why}; write a time from {FIRST_YEAR} to {LAST_YEAR}")));
        }
        check_report(terminal, &numbered.report)?;
    }
    Ok(())
}

fn check_report(terminal: &TerminalName, report: &Report) -> Result<(), ApiError> {
    let about = match report {
        Report::TerminalSeen { key: Some(_), .. } => {
            return Err(ApiError::bad_field("key", "is reported by the branch server, which certified it"));
        }
        Report::TerminalSeen { facts, key: None } => {
            check_facts(facts)?;
            &facts.name
        }
        Report::Running { terminal, .. } => terminal,
        Report::Update { terminal, update } => {
            check_update(update)?;
            terminal
        }
        Report::Package { terminal, package } => {
            check_package(package)?;
            terminal
        }
        Report::TerminalRefusesPlan { terminal, reason } => {
            reason.as_ref().map_or(Ok(()), check_reason)?;
            terminal
        }
        Report::BadPeer { terminal: Some(terminal), addresses, wasted_bytes, .. } => {
            if addresses.len() > MAX_ADDRESSES || *wasted_bytes > MAX_NUMBER {
                let why = format!("must be at most {MAX_ADDRESSES} addresses and a number in range");
                return Err(ApiError::bad_field("addresses, wasted_bytes", why));
            }
            terminal
        }
        Report::BadPeer { terminal: None, .. } => {
            return Err(ApiError::bad_field("terminal", "must name the reporting terminal"));
        }
        Report::Artifact { .. } | Report::Store { .. } => {
            return Err(ApiError::bad_field("kind", "is reported by branch servers, not by terminals"));
        }
        // Of a newer terminal: acknowledged and skipped.
        Report::Unknown(_) => terminal,
        Report::PlanRefused { .. } => {
            return Err(ApiError::bad_field("kind", "plan-refused is reported by branch servers, not by terminals"));
        }
    };
    if about == terminal {
        return Ok(());
    }
    let detail = format!("Terminal {terminal} may not report about {about}.");
    Err(ApiError::new(Code::NotYourself, detail, "Report about yourself only."))
}

/// Whether facts of a terminal can be kept.
///
/// # Errors
/// The field that cannot.
pub fn check_facts(facts: &TerminalFacts) -> Result<(), ApiError> {
    let version = &facts.agent_version;
    if version.is_empty() || version.len() > MAX_AGENT_VERSION || version.chars().any(char::is_control) {
        return Err(ApiError::bad_field("agent_version", format!("must be 1 to {MAX_AGENT_VERSION} printable bytes")));
    }
    if facts.slot_bytes > MAX_NUMBER || facts.data_bytes > MAX_NUMBER {
        return Err(ApiError::bad_field("slot_bytes, data_bytes", "must be sizes in range"));
    }
    Ok(())
}

fn check_update(update: &UpdateReport) -> Result<(), ApiError> {
    if update.serial > MAX_NUMBER || update.segments_total > MAX_NUMBER || update.segments_done > update.segments_total
    {
        let why = "must be in range, and segments_done at most segments_total";
        return Err(ApiError::bad_field("serial, segments_done, segments_total", why));
    }
    let digits = |proof: &String| proof.len() == 128 && proof.bytes().all(|b| b.is_ascii_hexdigit());
    if !update.proof.as_ref().is_none_or(digits) {
        return Err(ApiError::bad_field("proof", "must be 128 hexadecimal digits"));
    }
    if let Some(evidence) = &update.evidence {
        // The rest of it is bounded by its types.
        let fits = update.state == UpdateState::RolledBack && evidence.tried <= MAX_TRIED;
        if !fits || !evidence.proof.as_ref().is_none_or(digits) {
            let why = format!("belongs to rolled-back, after at most {MAX_TRIED} boots, with a proof of 128 digits");
            return Err(ApiError::bad_field("evidence", why));
        }
    }
    update.reason.as_ref().map_or(Ok(()), check_reason)
}

fn check_package(package: &PackageReport) -> Result<(), ApiError> {
    if package.total_bytes > MAX_NUMBER || package.have_bytes > package.total_bytes {
        let why = "must be in range, and have_bytes at most total_bytes";
        return Err(ApiError::bad_field("have_bytes, total_bytes", why));
    }
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if package.name.is_empty() || package.name.len() > MAX_PAYLOAD_NAME || !package.name.bytes().all(inner) {
        return Err(ApiError::bad_field("name", format!("must be 1 to {MAX_PAYLOAD_NAME} of a-z, 0-9 and '-'")));
    }
    package.trouble.as_ref().map_or(Ok(()), check_reason)
}

fn check_reason(reason: &Reason) -> Result<(), ApiError> {
    if !reason.code.is_valid() {
        return Err(ApiError::bad_field("reason.code", format!("must be 1 to {MAX_REASON_CODE} of a-z, 0-9 and '-'")));
    }
    if reason.text.len() > wire::MAX_REASON_LEN || reason.text.contains('\0') {
        return Err(ApiError::bad_field(
            "reason.text",
            format!("must be at most {} bytes of text", wire::MAX_REASON_LEN),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{Slot, Version};
    use wire::v1::reports::Numbered;

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
    fn numbers_rise_by_one_from_anywhere_but_zero() {
        let ok = || update(|_| {});
        assert_eq!(code(vec![(7, ok()), (8, ok())]), None);
        assert_eq!(code(vec![]), None);
        assert_eq!(code(vec![(0, ok())]), Some(Code::BadField));
        assert_eq!(code(vec![(7, ok()), (9, ok())]), Some(Code::BadField));
        assert_eq!(code(vec![(7, ok()), (7, ok())]), Some(Code::BadField));
        assert_eq!(code(vec![(u64::MAX, ok())]), Some(Code::BadField));
        assert_eq!(code((1..=MAX_BATCH as u64 + 1).map(|n| (n, ok())).collect()), Some(Code::BatchTooLong));
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
        let bad_peer = |terminal: Option<&str>, addresses: usize, wasted_bytes| Report::BadPeer {
            terminal: terminal.map(|t| t.parse().unwrap()),
            artifact: [1; 32].into(),
            addresses: vec![[10, 0, 0, 9].into(); addresses],
            wasted_bytes,
            certain: false,
        };
        assert_eq!(code(vec![(1, bad_peer(Some("till-1"), MAX_ADDRESSES, 1))]), None);
        assert_eq!(code(vec![(1, bad_peer(Some("till-1"), MAX_ADDRESSES + 1, 1))]), Some(Code::BadField));
        assert_eq!(code(vec![(1, bad_peer(Some("till-1"), 1, u64::MAX))]), Some(Code::BadField));
        assert_eq!(code(vec![(1, bad_peer(Some("till-2"), 1, 1))]), Some(Code::NotYourself));
        assert_eq!(code(vec![(1, bad_peer(None, 1, 1))]), Some(Code::BadField));
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
        assert_eq!(package("till-1", &|p| p.have_bytes = 6), Some(Code::BadField));
        assert_eq!(package("till-1", &|p| p.total_bytes = u64::MAX), Some(Code::BadField));
        for name in ["", "../out", "Tools", &"x".repeat(33)] {
            assert_eq!(package("till-1", &|p| p.name = name.into()), Some(Code::BadField), "{name}");
        }
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
    fn texts_and_numbers_of_strangers_are_bounded() {
        let reason = |code: &str, text: &str| {
            let reason = Reason { code: code.into(), params: Default::default(), text: text.to_owned() };
            vec![(1, update(|u| u.reason = Some(reason)))]
        };
        assert_eq!(code(reason("unhealthy", "The check failed.\nLine two.")), None);
        assert_eq!(code(reason("Un healthy", "x")), Some(Code::BadField));
        assert_eq!(code(reason("unhealthy", "a\0b")), Some(Code::BadField));
        assert_eq!(code(reason("unhealthy", &"x".repeat(1025))), Some(Code::BadField));
        assert_eq!(code(vec![(1, update(|u| u.segments_done = 1))]), Some(Code::BadField));
        assert_eq!(code(vec![(1, update(|u| u.serial = u64::MAX))]), Some(Code::BadField));
    }
}
