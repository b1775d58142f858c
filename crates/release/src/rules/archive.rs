//! Rules on the archive and its manifest: `archive-shape`, `manifest-schema`, `paths-safe`, `notes-present`.

use crate::flaw::{ARCHIVE_SHAPE, Flaw, PATHS_SAFE};
use crate::manifest::ManifestError;
use fleet_types::plural;

use super::case::{Case, Judgement};
use super::words::first_of;

/// The archive's flaws under `rule` as sentences, with the first one's remedy.
fn broken(case: &Case<'_>, rule: &str) -> Option<Judgement> {
    let flaws: Vec<&Flaw> = case.scan.flaws.iter().filter(|f| f.rule() == rule).collect();
    let first = flaws.first()?;
    let sentences: Vec<String> = flaws.iter().map(|f| capital(&f.to_string())).collect();
    Some(Judgement::fail(first_of(&sentences), first.remedy()).code(first.code()))
}

pub(super) fn shape(case: &Case<'_>) -> Judgement {
    if let Some(fail) = broken(case, ARCHIVE_SHAPE) {
        return fail;
    }
    if case.scan.manifest().is_none() {
        return Judgement::unknown(
            "Without a manifest it is not known which members belong to the archive.",
            "Resolve manifest-schema first.",
        );
    }
    if !case.scan.complete {
        return Judgement::unknown("The archive was not read to its end.", "Validate the complete archive.");
    }
    let files = plural(case.scan.members.len(), "payload file", "payload files");
    Judgement::pass(format!("A complete tar: release.toml and {files}, {}.", fleet_types::size(case.scan.length)))
}

pub(super) fn manifest_schema(case: &Case<'_>) -> Judgement {
    let Some(manifest) = &case.scan.manifest else {
        if !case.scan.complete && case.scan.flaws.iter().all(Flaw::ends_the_pass) {
            return Judgement::unknown("The archive is damaged before its manifest.", "Resolve archive-shape first.");
        }
        return Judgement::fail(
            "The archive does not start with release.toml.",
            "Pack with `filial release pack`, which puts it first.",
        )
        .code("manifest-missing");
    };
    match &manifest.parsed {
        Ok(m) => {
            let payloads = plural(m.payloads.len(), "payload", "payloads");
            Judgement::pass(format!("{} {}, {payloads}.", m.product, m.version))
        }
        Err(e) => Judgement::fail(format!("{}.", capital(&e.to_string())), remedy_of(e)).code(e.code()),
    }
}

fn remedy_of(e: &ManifestError) -> &'static str {
    match e {
        ManifestError::TooLong { .. } => "Shorten it; the notes are usually the cause.",
        ManifestError::NotUtf8 => "Save it as UTF-8.",
        ManifestError::Format(_) => "Write format = 1, or update this program.",
        ManifestError::Missing { .. } => "Pack with `filial release pack`, which fills in size and sha256.",
        ManifestError::Path { .. } => "Use a short relative path without \"..\" as the payload's `file`.",
        ManifestError::NotSchema { .. } | ManifestError::Contradiction { .. } | ManifestError::Unwritable(_) => {
            "Correct release.toml and pack again with `filial release pack`."
        }
    }
}

pub(super) fn paths_safe(case: &Case<'_>) -> Judgement {
    if let Some(fail) = broken(case, PATHS_SAFE) {
        return fail;
    }
    if let Some(Err(e @ ManifestError::Path { .. })) = case.scan.manifest.as_ref().map(|m| &m.parsed) {
        return Judgement::fail(format!("{}.", capital(&e.to_string())), remedy_of(e)).code(e.code());
    }
    if !case.scan.complete {
        return Judgement::unknown(
            "The archive could not be read to its end, so not all paths were checked.",
            "Resolve archive-shape first.",
        );
    }
    Judgement::pass("Every path stays inside the archive's folder.")
}

pub(super) fn notes_present(case: &Case<'_>) -> Judgement {
    let Some(manifest) = case.scan.manifest() else { return Judgement::no_manifest() };
    let least = case.policy.notes_present.min_characters;
    let found = manifest.notes.trim().chars().count();
    if found as u64 >= least {
        return Judgement::pass(format!("The notes have {}.", plural(found, "character", "characters")));
    }
    Judgement::fail(
        format!("The notes have {}; at least {least} are required.", plural(found, "character", "characters")),
        "Describe what is new in `notes` of release.toml, and pack again.",
    )
}

/// Capitalises the first letter of a sentence.
fn capital(sentence: &str) -> String {
    // A file's name keeps its spelling.
    if sentence.starts_with("release.toml") {
        return sentence.to_owned();
    }
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}
