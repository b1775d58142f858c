//! Rule `upgrade-path`: whether every version that now runs can legally reach the release.

use std::collections::BTreeMap;

use fleet_types::{TerminalRef, Version, VersionRange};

use crate::facts::{PublishedStep, RunningVersion};

use super::case::{Case, ELSEWHERE, Judgement};
use super::words::{first_of, list};

/// Terminals that fare alike.
#[derive(Default)]
struct Group<'a> {
    terminals: u64,
    some: Vec<(&'a TerminalRef, Option<&'a Version>)>,
}

impl<'a> Group<'a> {
    fn add(&mut self, running: &'a RunningVersion) {
        self.terminals = self.terminals.saturating_add(running.terminals);
        self.some.extend(running.some.iter().map(|t| (t, running.version.as_ref())));
    }

    fn count(&self) -> String {
        if self.terminals == 1 { "1 terminal".to_owned() } else { format!("{} terminals", self.terminals) }
    }

    fn names(&self) -> String {
        let name = |(terminal, version): &(&TerminalRef, Option<&Version>)| match version {
            Some(version) => format!("{terminal} ({version})"),
            None => terminal.to_string(),
        };
        list(self.some.iter().map(name), usize::try_from(self.terminals).unwrap_or(usize::MAX))
    }
}

/// Whether `from` may be followed by a version that demands `requires`.
fn admits(requires: Option<&VersionRange>, from: &Version) -> bool {
    requires.is_none_or(|range| range.contains(from))
}

/// Published releases that lead to the release, each with its number of steps.
fn bridges<'a>(
    steps: &'a [PublishedStep],
    to: &Version,
    requires: &VersionRange,
) -> BTreeMap<&'a Version, (usize, &'a PublishedStep)> {
    let below: Vec<&PublishedStep> = steps.iter().filter(|s| s.version < *to).collect();
    let mut found: BTreeMap<&Version, (usize, &PublishedStep)> =
        below.iter().filter(|s| requires.contains(&s.version)).map(|s| (&s.version, (1, *s))).collect();
    // Each round finds what is one step farther off; a round that finds nothing is the last.
    for distance in 2..=below.len() {
        let reach = |s: &PublishedStep| {
            let nearer = found.values().filter(|(steps, next)| *steps + 1 == distance && next.version > s.version);
            nearer.into_iter().any(|(_, next)| admits(next.requires.as_ref(), &s.version))
        };
        let new: Vec<&PublishedStep> =
            below.iter().copied().filter(|s| !found.contains_key(&s.version) && reach(s)).collect();
        if new.is_empty() {
            break;
        }
        found.extend(new.into_iter().map(|s| (&s.version, (distance, s))));
    }
    found
}

pub(super) fn upgrade_path(case: &Case<'_>) -> Judgement {
    let Some(manifest) = case.scan.manifest() else { return Judgement::no_manifest() };
    let (product, version) = (&manifest.product, &manifest.version);
    let Some(requires) = &manifest.requires else {
        return Judgement::pass(format!("{product} {version} can be installed over every version."));
    };
    let Some(running) = &case.facts.running else {
        return Judgement::unknown("The versions that the fleet runs are not known here.", ELSEWHERE);
    };
    let far = |v: &Version| v < version && !requires.contains(v);
    let (mut silent, mut lost) = (Group::default(), Group::default());
    let mut bridged: BTreeMap<(usize, &Version), Group<'_>> = BTreeMap::new();
    if running.versions.iter().any(|r| r.version.as_ref().is_some_and(far)) && case.facts.steps.is_none() {
        return Judgement::unknown("The published intermediate releases are not known here.", ELSEWHERE);
    }
    let steps = bridges(case.facts.steps.as_deref().unwrap_or_default(), version, requires);
    for group in &running.versions {
        let Some(runs) = &group.version else {
            silent.add(group);
            continue;
        };
        if !far(runs) {
            continue;
        }
        let next = steps.values().filter(|(_, s)| s.version > *runs && admits(s.requires.as_ref(), runs));
        // The shortest way, and of those the newest release.
        match next.min_by(|a, b| a.0.cmp(&b.0).then(b.1.version.cmp(&a.1.version))) {
            Some((distance, step)) => bridged.entry((distance + 1, &step.version)).or_default().add(group),
            None => lost.add(group),
        }
    }
    if lost.terminals > 0 {
        return Judgement::fail(
            format!("{version} requires {requires}, which {} cannot reach: {}.", lost.count(), lost.names()),
            "Publish an intermediate release, or widen `requires` in release.toml.",
        );
    }
    silent.terminals = silent.terminals.saturating_add(running.beyond);
    let mut warnings: Vec<String> = bridged
        .iter()
        .map(|((steps, via), g)| format!("{} must take {steps} steps, {via} first: {}", g.count(), g.names()))
        .collect();
    if silent.terminals > 0 {
        let who = if silent.some.is_empty() { String::new() } else { format!(": {}", silent.names()) };
        warnings.push(format!("the version of {} is not known{who}", silent.count()));
    }
    if warnings.is_empty() {
        return Judgement::pass(format!("{version} requires {requires}, which all terminals of its models meet."));
    }
    Judgement::warn(
        format!("{version} requires {requires}; {}", first_of(&warnings)),
        "Assign the intermediate releases to those branches first, or accept it: `filial release approve`.",
    )
}
