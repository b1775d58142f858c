//! What a rule looks at and what it answers.

use wire::v1::releases::{Finding, Verdict};

use crate::facts::Facts;
use crate::policy::Policy;
use crate::scan::Scan;

/// Remedy where only head office has the facts.
pub(super) const ELSEWHERE: &str = "Head office decides this when the archive is uploaded.";

/// The input of a rule.
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

    /// Adds a code, for rules that can fail in several ways.
    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// As the finding of the rule `id`.
    pub(super) fn of(self, id: &'static str) -> Finding {
        let Self { verdict, cause, remedy, code } = self;
        let code = code.or((verdict == Verdict::Fail).then_some(id)).map(str::to_owned);
        Finding { id: id.to_owned(), verdict, code, cause, remedy }
    }

    /// The answer without a valid manifest.
    pub(crate) fn no_manifest() -> Self {
        Self::unknown("The archive has no valid manifest.", "Resolve manifest-schema and archive-shape first.")
    }
}
