//! Rules on what surrounds a release: `size-growth`, `signatures`, `freeze-calendar`, `external`.

use chrono::{DateTime, Utc};
use wire::v1::releases::Verdict;

use crate::external::External;
use crate::facts::ReleaseKeys;
use crate::freeze;
use crate::policy::FreezeCalendarPolicy;

use super::{Case, ELSEWHERE, Judgement};

pub(super) fn size_growth(case: &Case<'_>) -> Judgement {
    let Some(manifest) = case.scan.manifest() else { return Judgement::no_manifest() };
    let Some(previous) = &case.facts.previous else {
        return Judgement::unknown("How large the release before this one was is not known here.", ELSEWHERE);
    };
    let Some(previous) = previous else {
        return Judgement::pass(format!("No published version of {} lies below this one.", manifest.product));
    };
    let bytes = manifest.payloads.iter().fold(0, |sum: u64, p| sum.saturating_add(p.size));
    let allowed = case.policy.size_growth.warn_above_percent;
    let percent = match previous.bytes {
        0 => return Judgement::pass(format!("{} had nothing to compare with.", previous.version)),
        before => u128::from(bytes) * 100 / u128::from(before),
    };
    let cause = format!(
        "The payloads have {bytes} bytes, {percent} % of the {} of {}; the policy allows {allowed} %.",
        previous.bytes, previous.version
    );
    if u128::from(bytes) * 100 <= u128::from(previous.bytes) * u128::from(allowed) {
        return Judgement::pass(cause);
    }
    Judgement::warn(cause, "See what made it grow, or accept it with a reason: `filial release approve`.")
}

pub(super) fn signatures(case: &Case<'_>) -> Judgement {
    let Some(manifest) = case.scan.manifest() else { return Judgement::no_manifest() };
    let (product, version) = (&manifest.product, &manifest.version);
    match case.facts.release_keys {
        None => Judgement::unknown("Who signs releases of the product is not known here.", ELSEWHERE),
        Some(ReleaseKeys::Nobody) => Judgement::fail(
            format!("Nobody holds release keys of {product}."),
            format!(
                "Give somebody the role: `filial trust propose FOLDER product-{product} --key PUBLIC --out FILE`, then \
                 upload the archive again."
            ),
        ),
        Some(ReleaseKeys::Holders { threshold, keys }) => {
            Judgement::pass(format!("{threshold} of {keys} release keys of {product} must sign {version}."))
        }
        Some(ReleaseKeys::Signed) => Judgement::pass(format!("The release keys of {product} signed {version}.")),
        Some(ReleaseKeys::SignedOtherwise) => Judgement::fail(
            format!("The release keys of {product} signed something else as {version}; a release never changes."),
            "Give the release a version of its own, or have the holders withdraw what they signed.",
        ),
    }
}

pub(super) fn freeze_calendar(case: &Case<'_>) -> Judgement {
    match case.facts.now {
        Some(now) => frozen(&case.policy.freeze_calendar, now),
        None => Judgement::unknown("What time it is is not known here.", ELSEWHERE),
    }
}

/// The calendar at `now`.
pub(super) fn frozen(calendar: &FreezeCalendarPolicy, now: DateTime<Utc>) -> Judgement {
    match freeze::at(&calendar.periods, calendar.utc_offset, now) {
        Err(why) => Judgement::unknown(why, "Set the clock of this machine."),
        Ok(None) => Judgement::pass("No freeze is in force."),
        Ok(Some(freeze)) => {
            let until = freeze.until.format("%Y-%m-%d %H:%M:%S %:z");
            let at_least = if freeze.at_least { "at least " } else { "" };
            Judgement::fail(
                format!("A freeze is in force: {}", freeze.reason),
                format!("Approve the release after the freeze, which lasts {at_least}until {until}."),
            )
        }
    }
}

pub(super) fn external(case: &Case<'_>) -> Judgement {
    if case.policy.external.command.is_empty() {
        return Judgement::pass("The policy names no command.");
    }
    if case.scan.manifest().is_none() {
        return Judgement::no_manifest();
    }
    match &case.facts.external {
        None => Judgement::unknown("The shop's own command is not run here.", ELSEWHERE),
        Some(External::Failed { why }) => Judgement::unknown(
            format!("The shop's own command did not judge. {why}"),
            "See that the command under [external] of policy.toml works, then upload the archive again.",
        ),
        Some(External::Answered { verdict, cause, remedy }) => match verdict {
            Verdict::Pass => Judgement::pass(cause),
            Verdict::Warn => Judgement::warn(cause, remedy),
            Verdict::Unknown => Judgement::unknown(cause, remedy),
            Verdict::Fail => Judgement::fail(cause, remedy),
        },
    }
}
