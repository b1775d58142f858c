//! Rule `branch-space`: whether the branches that get the release can hold its artifacts.

use fleet_types::{plural, size};

use crate::facts::{BranchStore, StoreRoom};
use crate::manifest::{Manifest, Payload, PayloadKind};

use super::case::{Case, ELSEWHERE, Judgement};
use super::words::list;

/// What a branch is expected to need for the release, in bytes.
fn needs(manifest: &Manifest, branch: &BranchStore, percent: u32) -> u64 {
    let everywhere = |p: &Payload| p.kind == PayloadKind::Package && p.compatible.is_empty();
    let wanted =
        manifest.payloads.iter().filter(|p| everywhere(p) || p.compatible.iter().any(|m| branch.models.contains(m)));
    let bytes = wanted.fold(0u128, |sum, p| sum + u128::from(p.size));
    u64::try_from((bytes * u128::from(percent)).div_ceil(100)).unwrap_or(u64::MAX)
}

/// Branches with too little room, each with what it needs.
fn short<'a>(
    branches: &'a [(&'a BranchStore, u64)],
    room: impl Fn(&StoreRoom) -> u64,
) -> Vec<(&'a BranchStore, u64, u64)> {
    let of = |(branch, needs): &(&'a BranchStore, u64)| Some((*branch, *needs, branch.room.as_ref().map(&room)?));
    branches.iter().filter_map(of).filter(|(_, needs, room)| needs > room).collect()
}

/// Which branches, and how far the first of them is from enough.
fn sentence(short: &[(&BranchStore, u64, u64)], lack: &str) -> Option<String> {
    let (first, needs, room) = short.first()?;
    let names = list(short.iter().map(|(b, ..)| &b.branch), short.len());
    let count = plural(short.len(), "branch", "branches");
    Some(format!(
        "{count} {lack}: {names}; {} needs {}, {} more than it has",
        first.branch,
        size(*needs),
        size(needs - room)
    ))
}

pub(super) fn branch_space(case: &Case<'_>) -> Judgement {
    let Some(manifest) = case.scan.manifest() else { return Judgement::no_manifest() };
    let Some(branches) = &case.facts.branches else {
        return Judgement::unknown("The branches' free space is not known here.", ELSEWHERE);
    };
    let percent = case.policy.branch_space.artifact_percent;
    let branches: Vec<_> = branches.iter().map(|b| (b, needs(manifest, b, percent))).collect();
    let basis = format!("taking artifacts as {percent} % of their payloads");
    if let Some(never) = sentence(&short(&branches, |r| r.capacity_bytes), "cannot hold it in a store of that size") {
        return Judgement::fail(
            format!("By estimate, {basis}, {never}."),
            "Enlarge the stores of those branches (budget_bytes, or a larger disk), make the payloads smaller, or correct \
             artifact_percent under [branch-space] in policy.toml.",
        );
    }
    let now = sentence(&short(&branches, |r| r.free_bytes), "must wait until older artifacts are evicted");
    let silent: Vec<_> = branches.iter().filter(|(b, _)| b.room.is_none()).map(|(b, _)| &b.branch).collect();
    let unheard = (!silent.is_empty()).then(|| {
        let names = list(&silent, silent.len());
        format!("{} never reported free space: {names}", plural(silent.len(), "branch", "branches"))
    });
    let warnings: Vec<String> = [now, unheard].into_iter().flatten().collect();
    if !warnings.is_empty() {
        return Judgement::warn(
            format!("By estimate, {basis}, {}.", warnings.join("; ")),
            "Free space there, or accept the delay: `filial release approve`.",
        );
    }
    if branches.is_empty() {
        return Judgement::pass("The fleet has no branch yet that needs room for it.");
    }
    let count = plural(branches.len(), "branch", "branches");
    Judgement::pass(format!("By estimate, {basis}, there is room at {count}."))
}
