//! The business rules: each has a stable id and a pure function from facts to a finding.

mod archive;
mod case;
mod circumstances;
mod fleet;
mod payloads;
mod space;
mod upgrade;
mod words;

use chrono::{DateTime, Utc};
use wire::v1::releases::{Finding, Report};

use crate::facts::Facts;
use crate::flaw::{ARCHIVE_SHAPE, PATHS_SAFE};
use crate::policy::Policy;
use crate::scan::Scan;

use case::{Case, Judgement};

/// The id of the freeze rule.
///
/// Judged again at approval, because its verdict changes with time.
pub const FREEZE_CALENDAR: &str = "freeze-calendar";

/// A business rule.
pub struct Rule {
    /// Its stable id.
    pub id: &'static str,
    /// Its demand, one sentence.
    pub demands: &'static str,
    judge: fn(&Case<'_>) -> Judgement,
}

impl Rule {
    /// Judges one archive.
    pub fn judge(&self, scan: &Scan, facts: &Facts, policy: &Policy) -> Finding {
        (self.judge)(&Case { scan, facts, policy }).of(self.id)
    }
}

/// Every rule, in the order of the checklist.
pub const RULES: &[Rule] = &[
    Rule {
        id: ARCHIVE_SHAPE,
        demands: "The archive is a complete tar: release.toml first, then the payloads' files and nothing else.",
        judge: archive::shape,
    },
    Rule {
        id: "manifest-schema",
        demands: "release.toml is valid and free of contradictions.",
        judge: archive::manifest_schema,
    },
    Rule { id: PATHS_SAFE, demands: "No path leads out of the archive's folder.", judge: archive::paths_safe },
    Rule {
        id: "digests",
        demands: "Every payload has the size and the SHA-256 that release.toml states.",
        judge: payloads::digests,
    },
    Rule {
        id: "image-magic",
        demands: "Every slot image is a complete file system of an allowed kind.",
        judge: payloads::image_magic,
    },
    Rule {
        id: "image-sums",
        demands: "A slot image with a kernel has the sums by which the boot script checks it.",
        judge: payloads::image_sums,
    },
    Rule {
        id: "version-newer",
        demands: "The version is newer than every published version of its product, and never stood for other content.",
        judge: fleet::version_newer,
    },
    Rule {
        id: "upgrade-path",
        demands: "Every version that runs in the fleet can be upgraded to this one.",
        judge: upgrade::upgrade_path,
    },
    Rule {
        id: "compatible-known",
        demands: "The fleet has the models that the payloads are for.",
        judge: fleet::compatible_known,
    },
    Rule {
        id: "fits-slot",
        demands: "Every slot image fits the smallest slot of its models.",
        judge: fleet::fits_slot,
    },
    Rule { id: "branch-space", demands: "The stores of its branches have room for it.", judge: space::branch_space },
    Rule { id: "notes-present", demands: "The release has notes that say what is new.", judge: archive::notes_present },
    Rule {
        id: "size-growth",
        demands: "The release is not far larger than the previous one.",
        judge: circumstances::size_growth,
    },
    Rule {
        id: "signatures",
        demands: "The product's release keys have holders and signed nothing else as this version.",
        judge: circumstances::signatures,
    },
    Rule { id: FREEZE_CALENDAR, demands: "No freeze is in force.", judge: circumstances::freeze_calendar },
    Rule { id: "external", demands: "The external command approves.", judge: circumstances::external },
];

/// Judges by the freeze calendar alone, as approval does again.
pub fn freeze(policy: &Policy, now: DateTime<Utc>) -> Finding {
    circumstances::frozen(&policy.freeze_calendar, now).of(FREEZE_CALENDAR)
}

/// Judges an archive by every rule, independently of each other.
pub fn evaluate(scan: &Scan, facts: &Facts, policy: &Policy) -> Report {
    Report { findings: RULES.iter().map(|rule| rule.judge(scan, facts, policy)).collect() }
}
