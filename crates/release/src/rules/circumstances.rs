//! Rules on what surrounds a release: `size-growth`, `signatures`, `freeze-calendar`, `external`.

use chrono::{DateTime, Utc};
use fleet_types::size;
use wire::v1::releases::Verdict;

use crate::external::External;
use crate::facts::ReleaseKeys;
use crate::freeze::at as freeze_at;
use crate::policy::FreezeCalendarPolicy;

use super::case::{Case, ELSEWHERE, Judgement};

pub(super) fn size_growth(case: &Case<'_>) -> Judgement {
    let Some(manifest) = case.scan.manifest() else { return Judgement::no_manifest() };
    let Some(previous) = &case.facts.previous else {
        return Judgement::unknown("The size of the previous release is not known here.", ELSEWHERE);
    };
    let Some(previous) = previous else {
        return Judgement::pass(format!("{} has no published version older than this one.", manifest.product));
    };
    let bytes = manifest.payloads.iter().fold(0, |sum: u64, p| sum.saturating_add(p.size));
    let allowed = case.policy.size_growth.warn_above_percent;
    let percent = match previous.bytes {
        0 => return Judgement::pass(format!("Version {} had no payload bytes to compare with.", previous.version)),
        before => u128::from(bytes) * 100 / u128::from(before),
    };
    let cause = format!(
        "The payloads have {}, {percent} % of the {} of {}; the policy allows {allowed} %.",
        size(bytes),
        size(previous.bytes),
        previous.version
    );
    if u128::from(bytes) * 100 <= u128::from(previous.bytes) * u128::from(allowed) {
        return Judgement::pass(cause);
    }
    Judgement::warn(cause, "Check what made it grow, or accept it with a reason: `filial release approve`.")
}

pub(super) fn signatures(case: &Case<'_>) -> Judgement {
    let Some(manifest) = case.scan.manifest() else { return Judgement::no_manifest() };
    let (product, version) = (&manifest.product, &manifest.version);
    match case.facts.release_keys {
        None => Judgement::unknown("The product's release keys are not known here.", ELSEWHERE),
        Some(ReleaseKeys::Unassigned) => Judgement::fail(
            format!("The release keys of {product} have no holders."),
            format!(
                "Assign the role with `filial trust propose FOLDER product-{product} --key PUBLIC --out FILE`, then upload \
                 the archive again."
            ),
        ),
        Some(ReleaseKeys::Holders { threshold, keys }) => {
            Judgement::pass(format!("{threshold} of {keys} release keys of {product} must sign {version}."))
        }
        Some(ReleaseKeys::Signed) => Judgement::pass(format!("The release keys of {product} signed {version}.")),
        Some(ReleaseKeys::SignedOtherwise) => Judgement::fail(
            format!("The release keys of {product} have signed other content as {version}; a release never changes."),
            "Use another version, or have the holders withdraw the signed release.",
        ),
    }
}

pub(super) fn freeze_calendar(case: &Case<'_>) -> Judgement {
    match case.facts.now {
        Some(now) => frozen(&case.policy.freeze_calendar, now),
        None => Judgement::unknown("The time is not known here.", ELSEWHERE),
    }
}

/// The calendar at `now`.
pub(super) fn frozen(calendar: &FreezeCalendarPolicy, now: DateTime<Utc>) -> Judgement {
    match freeze_at(&calendar.periods, calendar.utc_offset, now) {
        Err(why) => Judgement::unknown(why, "Correct this machine's clock."),
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
        return Judgement::pass("The policy has no external command.");
    }
    if case.scan.manifest().is_none() {
        return Judgement::no_manifest();
    }
    match &case.facts.external {
        None => Judgement::unknown("The external command is not run here.", ELSEWHERE),
        Some(External::Failed { why }) => Judgement::unknown(
            format!("The external command failed. {why}"),
            "Check the command under [external] in policy.toml, then upload the archive again.",
        ),
        Some(External::Answered { verdict, cause, remedy }) => match verdict {
            Verdict::Pass => Judgement::pass(cause),
            Verdict::Warn => Judgement::warn(cause, remedy),
            Verdict::Unknown => Judgement::unknown(cause, remedy),
            Verdict::Fail => Judgement::fail(cause, remedy),
        },
    }
}
