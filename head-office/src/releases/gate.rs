//! What a release waits for once its rules were judged: nothing, a person who accepts, holders who sign, or both. Pure.

use fleet_types::ProductName;
use release::FREEZE_CALENDAR;
use wire::v1::releases::{Report, Verdict};

/// Where a checklist leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judged {
    /// To no good end, for this reason.
    Rejected(String),
    /// On, once the named warnings were accepted, if there are any.
    Open {
        /// What is to be accepted, one or two sentences.
        to_accept: Option<String>,
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
    let named = |verdict: Verdict| {
        let ids: Vec<&str> = report.findings.iter().filter(|f| f.verdict == verdict).map(|f| f.id.as_str()).collect();
        ids.join(", ")
    };
    let unsettled = report.findings.iter().filter(|f| f.verdict > Verdict::Warn);
    if report.verdict() == Verdict::Fail && unsettled.clone().all(|f| f.id == FREEZE_CALENDAR) {
        let remedy = unsettled.map(|f| f.remedy.as_str()).collect::<Vec<_>>().join(" ");
        let warnings = match named(Verdict::Warn) {
            ids if ids.is_empty() => String::new(),
            ids => format!(" Warnings to be accepted: {ids}."),
        };
        return Judged::Open { to_accept: Some(format!("{remedy}{warnings}")) };
    }
    match report.verdict() {
        Verdict::Pass => Judged::Open { to_accept: None },
        Verdict::Warn => {
            Judged::Open { to_accept: Some(format!("Warnings to be accepted: {}.", named(Verdict::Warn))) }
        }
        Verdict::Unknown => {
            Judged::Rejected(format!("Rules that could not be evaluated: {}.", named(Verdict::Unknown)))
        }
        Verdict::Fail => Judged::Rejected(format!("Rules that failed: {}.", named(Verdict::Fail))),
    }
}

/// Why a release waits; none if it may go on. `to_accept` is what has not been accepted yet.
pub(super) fn reason_to_wait(to_accept: Option<&str>, signed: &Signed) -> Option<String> {
    let signatures = match signed {
        Signed::InForce | Signed::ByHeadOffice | Signed::Posted { missing: 0, .. } => None,
        Signed::Posted { product, threshold, missing } => Some(format!(
            "{missing} of {threshold} signatures by release keys of {product} are missing: sign the archive with \
             `filial release sign`, and post the file with `filial release post-signatures`."
        )),
        Signed::Otherwise => Some(
            "The release keys signed different content for this version, and a version never changes: withdraw this \
             release and upload it under a new version."
                .to_owned(),
        ),
    };
    match (to_accept, signatures) {
        (None, None) => None,
        (accept, signatures) => {
            let parts: Vec<&str> = accept.into_iter().chain(signatures.as_deref()).collect();
            Some(parts.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(judged(&report(&[("digests", Pass)])), Judged::Open { to_accept: None });
        let accept = |text: &str| Judged::Open { to_accept: Some(text.to_owned()) };
        assert_eq!(judged(&report(&[("size-growth", Warn)])), accept("Warnings to be accepted: size-growth."));
        let frozen = [(FREEZE_CALENDAR, Fail), ("size-growth", Warn)];
        assert_eq!(judged(&report(&frozen)), accept("Wait. Warnings to be accepted: size-growth."));
        let rejected = |text: &str| Judged::Rejected(text.to_owned());
        let failed = [(FREEZE_CALENDAR, Fail), ("signatures", Fail)];
        assert_eq!(judged(&report(&failed)), rejected("Rules that failed: freeze-calendar, signatures."));
        let unknown = [("external", Unknown), ("size-growth", Warn)];
        assert_eq!(judged(&report(&unknown)), rejected("Rules that could not be evaluated: external."));
    }

    #[test]
    fn a_release_goes_on_when_it_is_accepted_and_signed_and_not_before() {
        for signed in [Signed::InForce, Signed::ByHeadOffice, posted(0)] {
            assert_eq!(reason_to_wait(None, &signed), None);
            assert_eq!(reason_to_wait(Some("Accept it."), &signed).as_deref(), Some("Accept it."));
        }
        let both = reason_to_wait(Some("Accept it."), &posted(1)).unwrap();
        assert!(both.starts_with("Accept it. 1 of 2 signatures by release keys of kiosk are missing"), "{both}");
        assert!(reason_to_wait(None, &posted(2)).unwrap().starts_with("2 of 2"));
        assert!(reason_to_wait(None, &Signed::Otherwise).unwrap().contains("under a new version"));
    }
}
