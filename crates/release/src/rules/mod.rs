//! The business rules: values with a stable id and a pure function from what is known to a finding.

mod archive;
mod circumstances;
mod fleet;
mod payloads;
mod space;
mod upgrade;

use std::fmt::Display;

use chrono::{DateTime, Utc};
use wire::v1::releases::{Finding, Report, Verdict};

use crate::facts::Facts;
use crate::flaw::{ARCHIVE_SHAPE, PATHS_SAFE};
use crate::policy::Policy;
use crate::scan::Scan;

/// What to do about what only head office knows.
const ELSEWHERE: &str = "Head office judges this when the archive is uploaded.";

/// The id of the rule on freezes: time alone changes its verdict, so that it is judged again at approval.
pub const FREEZE_CALENDAR: &str = "freeze-calendar";

/// What a rule may look at.
pub(crate) struct Case<'a> {
    pub(crate) scan: &'a Scan,
    pub(crate) facts: &'a Facts,
    pub(crate) policy: &'a Policy,
}

/// A rule's answer, without its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    verdict: Verdict,
    cause: String,
    remedy: String,
    code: Option<&'static str>,
}

impl Judgement {
    pub(crate) fn pass(cause: impl Into<String>) -> Self {
        Self { verdict: Verdict::Pass, cause: cause.into(), remedy: String::new(), code: None }
    }

    pub(crate) fn warn(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, cause: cause.into(), remedy: remedy.into(), code: None }
    }

    pub(crate) fn fail(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, cause: cause.into(), remedy: remedy.into(), code: None }
    }

    pub(crate) fn unknown(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Unknown, cause: cause.into(), remedy: remedy.into(), code: None }
    }

    /// With the code of what was found, where one rule can be broken in several ways.
    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// As the finding of the rule `id`.
    fn of(self, id: &'static str) -> Finding {
        let Self { verdict, cause, remedy, code } = self;
        let code = code.or((verdict == Verdict::Fail).then_some(id)).map(str::to_owned);
        Finding { id: id.to_owned(), verdict, code, cause, remedy }
    }

    /// Nothing to judge, because the manifest could not be read.
    pub(crate) fn no_manifest() -> Self {
        Self::unknown("There is no manifest to judge by.", "Settle manifest-schema and archive-shape first.")
    }
}

/// A business rule.
pub struct Rule {
    /// Its stable id.
    pub id: &'static str,
    /// What it demands, one sentence.
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
        demands: "The archive is a whole tar: release.toml first, then the payloads' files and nothing else.",
        judge: archive::shape,
    },
    Rule {
        id: "manifest-schema",
        demands: "release.toml can be read and its parts go together.",
        judge: archive::manifest_schema,
    },
    Rule { id: PATHS_SAFE, demands: "No path leads out of the archive's own folder.", judge: archive::paths_safe },
    Rule {
        id: "digests",
        demands: "Every payload has the size and the SHA-256 that release.toml states.",
        judge: payloads::digests,
    },
    Rule {
        id: "image-magic",
        demands: "Every slot image is a file system of an allowed kind and is there in full.",
        judge: payloads::image_magic,
    },
    Rule {
        id: "version-newer",
        demands: "The version is newer than every published one of its product.",
        judge: fleet::version_newer,
    },
    Rule {
        id: "upgrade-path",
        demands: "Every version that now runs in the fleet can legally reach this one.",
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
    Rule {
        id: "branch-space",
        demands: "The stores of the branches that get it can hold it.",
        judge: space::branch_space,
    },
    Rule { id: "notes-present", demands: "The release says what is new.", judge: archive::notes_present },
    Rule {
        id: "size-growth",
        demands: "The release is not far larger than the one before.",
        judge: circumstances::size_growth,
    },
    Rule {
        id: "signatures",
        demands: "Somebody holds the product's release keys, and they signed nothing else as this version.",
        judge: circumstances::signatures,
    },
    Rule { id: FREEZE_CALENDAR, demands: "No freeze is in force.", judge: circumstances::freeze_calendar },
    Rule { id: "external", demands: "The shop's own command agrees.", judge: circumstances::external },
];

/// Judges by the calendar alone, at `now`: what approval asks again.
pub fn freeze(policy: &Policy, now: DateTime<Utc>) -> Finding {
    circumstances::frozen(&policy.freeze_calendar, now).of(FREEZE_CALENDAR)
}

/// Judges an archive by every rule. All rules answer, whatever the others say.
pub fn evaluate(scan: &Scan, facts: &Facts, policy: &Policy) -> Report {
    Report { findings: RULES.iter().map(|rule| rule.judge(scan, facts, policy)).collect() }
}

/// `count` things, in words that agree with the number.
pub(crate) fn plural(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// Names of things of which there are `total`: the first few, and how many more.
pub(crate) fn list(names: impl IntoIterator<Item = impl Display>, total: usize) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = names.into_iter().take(SHOWN).map(|n| n.to_string()).collect();
    match total.saturating_sub(shown.len()) {
        _ if total == 0 => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The first of some sentences, and how many more there are.
pub(crate) fn first_of(sentences: &[String]) -> String {
    match sentences {
        [] => String::new(),
        [one] => format!("{one}."),
        [first, rest @ ..] => format!("{first}; and {} more.", rest.len()),
    }
}
