//! Rules that need to know the fleet: `version-newer`, `compatible-known`, `fits-slot`.

use std::collections::{BTreeMap, BTreeSet};

use fleet_types::{ModelName, plural, size};

use crate::facts::SmallestSlot;
use crate::manifest::{Manifest, Payload};

use super::case::{Case, ELSEWHERE, Judgement};
use super::words::{first_of, list};

pub(super) fn version_newer(case: &Case<'_>) -> Judgement {
    let Some(manifest) = case.scan.manifest() else { return Judgement::no_manifest() };
    let Some(published) = &case.facts.published else {
        return Judgement::unknown("The published versions are not known here.", ELSEWHERE);
    };
    let (product, version) = (&manifest.product, &manifest.version);
    if published.contains(version) {
        return Judgement::fail(
            format!("{product} {version} is already published."),
            "Use a new version; a published release never changes.",
        )
        .code("version-published");
    }
    let payloads: BTreeMap<_, _> = manifest.payloads.iter().map(|p| (p.name.to_string(), p.sha256)).collect();
    if case.facts.withdrawn.iter().flatten().any(|withdrawn| *withdrawn != payloads) {
        return Judgement::fail(
            format!("{product} {version} was published with other content before it was withdrawn."),
            "Use a new version; terminals may still hold the withdrawn content under this one.",
        )
        .code("version-withdrawn");
    }
    match published.iter().max() {
        None => Judgement::pass(format!("{product} has no published version yet.")),
        Some(newest) if newest < version => {
            Judgement::pass(format!("{version} is newer than {newest}, the newest published version."))
        }
        Some(newest) if case.policy.version_newer.older_lines => {
            Judgement::pass(format!("{version} is older than {newest}, which the policy allows (older_lines)."))
        }
        Some(newest) => Judgement::fail(
            format!("{version} is not newer than {newest}, the newest published version of {product}."),
            "Use a higher version, or allow older_lines under [version-newer] in policy.toml.",
        ),
    }
}

/// The models of the fleet and those that the policy declares, each with its smallest slot.
fn known_models(case: &Case<'_>) -> Option<BTreeMap<ModelName, SmallestSlot>> {
    let mut models = case.facts.models.clone()?;
    for (name, declared) in &case.policy.models {
        let declared = SmallestSlot::new(declared.slot_bytes);
        models
            .entry(name.clone())
            .and_modify(|slot| {
                if declared.bytes < slot.bytes {
                    *slot = declared.clone();
                }
            })
            .or_insert(declared);
    }
    Some(models)
}

fn wanted_models(manifest: &Manifest) -> BTreeSet<&ModelName> {
    manifest.payloads.iter().flat_map(|p| &p.compatible).collect()
}

pub(super) fn compatible_known(case: &Case<'_>) -> Judgement {
    let Some(manifest) = case.scan.manifest() else { return Judgement::no_manifest() };
    let Some(models) = known_models(case) else {
        return Judgement::unknown("The fleet's models are not known here.", ELSEWHERE);
    };
    let wanted = wanted_models(manifest);
    let strange: Vec<&ModelName> = wanted.iter().copied().filter(|m| !models.contains_key(*m)).collect();
    if strange.is_empty() {
        return Judgement::pass(match wanted.len() {
            0 => "The payloads are for every model.".to_owned(),
            n => format!("The fleet has {}: {}.", plural(n, "model", "models"), list(&wanted, n)),
        });
    }
    Judgement::fail(
        format!(
            "The fleet has no model {}; it has: {}.",
            list(&strange, strange.len()),
            list(models.keys(), models.len())
        ),
        "Correct `compatible` in release.toml, enrol a terminal of that model, or declare it under [models] in policy.toml.",
    )
}

pub(super) fn fits_slot(case: &Case<'_>) -> Judgement {
    let Some(manifest) = case.scan.manifest() else { return Judgement::no_manifest() };
    let images: Vec<_> = manifest.slot_images().flat_map(|p| p.compatible.iter().map(move |m| (p, m))).collect();
    if images.is_empty() {
        return Judgement::pass("The release has no slot image.");
    }
    let Some(models) = known_models(case) else {
        return Judgement::unknown("The fleet's slot sizes are not known here.", ELSEWHERE);
    };
    let headroom = case.policy.fits_slot.headroom_bytes;
    let too_large = |(payload, model): &(&Payload, &ModelName)| {
        let slot = models.get(*model)?;
        let needs = payload.size.saturating_add(headroom);
        let small: Vec<_> = slot.terminals.iter().filter(|(_, bytes)| needs > *bytes).collect();
        let named: Vec<String> = small.iter().map(|(t, bytes)| format!("{t} with {}", size(*bytes))).collect();
        let whose = if named.is_empty() { String::new() } else { format!(" (terminals: {})", named.join(", ")) };
        (needs > slot.bytes).then(|| {
            let (needs, more) = (size(needs), size(needs - slot.bytes));
            format!("{} needs {needs}, {more} more than the smallest slot of {model} has{whose}", payload.file)
        })
    };
    let sentences: Vec<String> = images.iter().filter_map(too_large).collect();
    if !sentences.is_empty() {
        return Judgement::fail(
            first_of(&sentences),
            "Make the image smaller, or remove the model from `compatible`. If what a terminal says of its slot is wrong, deny it at its \
             branch (`filial terminal deny`) or remove it (`filial terminal remove`).",
        );
    }
    if let Some((_, model)) = images.iter().find(|(_, model)| !models.contains_key(*model)) {
        return Judgement::unknown(
            format!("The fleet has no terminal of model {model}, so its slot size is not known."),
            "Resolve compatible-known first.",
        );
    }
    Judgement::pass("Every slot image fits the smallest slot of its models.")
}
