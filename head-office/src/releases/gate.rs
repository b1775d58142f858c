//! What a release waits for once its rules were judged: nothing, a person who accepts, holders who sign, or both. Pure.

use fleet_types::ProductName;
use release::FREEZE_CALENDAR;
use wire::v1::releases::{Report, Verdict};
use wire::{Reason, ReasonCode};

/// Where a checklist leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judged {
    /// To no good end, for this reason.
    Rejected(Reason),
    /// On, once the named warnings were accepted, if there are any.
    Open {
        /// What is to be accepted: a freeze, warnings, or both.
        to_accept: Vec<Reason>,
    },
}

/// How far the signatures of a release are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// The metadata in force vouches for it.
    InForce,
    /// Head office signs it itself when it publishes it.
    ByHeadOffice,
    /// Its release keys sign elsewhere, and their signatures are posted.
    Posted {
        /// The product.
        product: ProductName,
        /// How many must sign.
        threshold: u32,
        /// How many of those are missing.
        missing: u32,
    },
    /// The metadata in force vouches for something else as this version.
    Otherwise,
}

/// Where a report leads.
///
/// A freeze passes by itself: what fails for no other reason waits for approval afterwards.
pub(super) fn judged(report: &Report) -> Judged {
    let named = |verdict: Verdict, code: ReasonCode| {
        let ids: Vec<&str> = report.findings.iter().filter(|f| f.verdict == verdict).map(|f| f.id.as_str()).collect();
        (!ids.is_empty()).then(|| Reason::of(code).with("rules", ids.join(", ")))
    };
    let warnings = || named(Verdict::Warn, ReasonCode::WarningsOpen);
    let unsettled = report.findings.iter().filter(|f| f.verdict > Verdict::Warn);
    if report.verdict() == Verdict::Fail && unsettled.clone().all(|f| f.id == FREEZE_CALENDAR) {
        let remedy = unsettled.map(|f| f.remedy.as_str()).collect::<Vec<_>>().join(" ");
        let frozen = Reason::new(ReasonCode::Frozen, remedy);
        return Judged::Open { to_accept: std::iter::once(frozen).chain(warnings()).collect() };
    }
    // The gravest verdict decides, so that a rejection names at least one rule.
    let failed = named(Verdict::Fail, ReasonCode::RulesFailed);
    match failed.or_else(|| named(Verdict::Unknown, ReasonCode::RulesUnknown)) {
        Some(reason) => Judged::Rejected(reason),
        None => Judged::Open { to_accept: warnings().into_iter().collect() },
    }
}

/// Returns why a release waits; nothing if it may go on. `to_accept` is what has not been accepted yet.
pub(super) fn reasons_to_wait(to_accept: Vec<Reason>, signed: &Signed) -> Vec<Reason> {
    let signatures = match signed {
        Signed::InForce | Signed::ByHeadOffice | Signed::Posted { missing: 0, .. } => None,
        Signed::Posted { product, threshold, missing } => {
            let reason = Reason::of(ReasonCode::SignaturesMissing).with("product", product);
            Some(reason.with("missing", missing).with("threshold", threshold))
        }
        Signed::Otherwise => Some(Reason::of(ReasonCode::SignedOtherwise)),
    };
    to_accept.into_iter().chain(signatures).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::sentences;
    use wire::v1::releases::Finding;

    fn report(findings: &[(&str, Verdict)]) -> Report {
        let finding = |(id, verdict): &(&str, Verdict)| Finding {
            id: (*id).to_owned(),
            verdict: *verdict,
            code: None,
            cause: "Because.".into(),
            remedy: "Wait.".into(),
        };
        Report { findings: findings.iter().map(finding).collect() }
    }

    fn posted(missing: u32) -> Signed {
        Signed::Posted { product: "kiosk".parse().unwrap(), threshold: 2, missing }
    }

    #[test]
    fn only_a_freeze_among_failures_can_be_waited_for() {
        use Verdict::{Fail, Pass, Unknown, Warn};
        assert_eq!(judged(&report(&[("digests", Pass)])), Judged::Open { to_accept: Vec::new() });
        let accept = |to_accept: &[Reason]| Judged::Open { to_accept: to_accept.to_vec() };
        let warned = Reason::of(ReasonCode::WarningsOpen).with("rules", "size-growth");
        assert_eq!(warned.sentence(), "Warnings to be accepted: size-growth.");
        assert_eq!(judged(&report(&[("size-growth", Warn)])), accept(std::slice::from_ref(&warned)));
        let frozen = [(FREEZE_CALENDAR, Fail), ("size-growth", Warn)];
        assert_eq!(judged(&report(&frozen)), accept(&[Reason::new(ReasonCode::Frozen, "Wait."), warned]));
        let failed = [(FREEZE_CALENDAR, Fail), ("signatures", Fail)];
        let reason = Reason::of(ReasonCode::RulesFailed).with("rules", "freeze-calendar, signatures");
        assert_eq!(reason.sentence(), "Rules that failed: freeze-calendar, signatures.");
        assert_eq!(judged(&report(&failed)), Judged::Rejected(reason));
        let unknown = [("external", Unknown), ("size-growth", Warn)];
        let reason = Reason::of(ReasonCode::RulesUnknown).with("rules", "external");
        assert_eq!(reason.sentence(), "Rules that could not be evaluated: external.");
        assert_eq!(judged(&report(&unknown)), Judged::Rejected(reason));
    }

    fn accept() -> Reason {
        Reason::new(ReasonCode::Frozen, "Accept it.")
    }

    #[test]
    fn a_release_goes_on_when_it_is_accepted_and_signed_and_not_before() {
        for signed in [Signed::InForce, Signed::ByHeadOffice, posted(0)] {
            assert_eq!(reasons_to_wait(Vec::new(), &signed), []);
            assert_eq!(reasons_to_wait(vec![accept()], &signed), [accept()]);
        }
        let both = reasons_to_wait(vec![accept()], &posted(1));
        assert_eq!((both.len(), &both[1].code), (2, &ReasonCode::SignaturesMissing));
        let both = sentences(&both);
        assert!(both.starts_with("Accept it. 1 of 2 signatures by release keys of kiosk are missing"), "{both}");
        assert!(sentences(&reasons_to_wait(Vec::new(), &posted(2))).starts_with("2 of 2"));
        let otherwise = reasons_to_wait(Vec::new(), &Signed::Otherwise);
        assert!(otherwise[0].code == ReasonCode::SignedOtherwise && otherwise[0].text.contains("under a new version"));
    }
}
