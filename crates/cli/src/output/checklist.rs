//! Renders the checklist of a release.

use wire::v1::releases::{Finding, Report, Verdict};

use super::plain;

/// Widest column of rules, in characters: a width above 65,535 panics, and a column wider than a screen hides the rest.
const WIDEST: usize = 40;

/// Renders a line for each rule, followed by the remedy where the rule does not pass.
pub(crate) fn checklist(report: &Report) -> String {
    let widest = report.findings.iter().map(|f| f.id.chars().count()).max().unwrap_or(0).min(WIDEST);
    let mut out = String::new();
    for finding in &report.findings {
        let mark = mark(finding.verdict);
        out.push_str(&format!("{mark} {:<widest$}  {}\n", plain(&finding.id), plain(&finding.cause)));
        if !finding.remedy.is_empty() {
            out.push_str(&format!("  {:<widest$}  → {}{}\n", "", plain(&finding.remedy), code(finding)));
        }
    }
    out
}

/// The finding's code, if it says more than the rule's name.
fn code(finding: &Finding) -> String {
    match &finding.code {
        Some(code) if *code != finding.id => format!(" [{}]", plain(code)),
        _ => String::new(),
    }
}

/// Counts the verdicts, such as `9 rules: 6 pass, 3 unknown`.
pub(crate) fn summary(report: &Report) -> String {
    let count = |verdict| report.findings.iter().filter(|f| f.verdict == verdict).count();
    let parts: Vec<String> = [Verdict::Pass, Verdict::Warn, Verdict::Unknown, Verdict::Fail]
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|verdict| format!("{} {verdict}", count(verdict)))
        .collect();
    format!("{} rules: {}", report.findings.len(), parts.join(", "))
}

const fn mark(verdict: Verdict) -> char {
    match verdict {
        Verdict::Pass => '✓',
        Verdict::Warn => '!',
        Verdict::Unknown => '?',
        Verdict::Fail => '✗',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_with_an_endless_name_widens_no_other_line() {
        let finding = |id: String| Finding {
            id,
            verdict: Verdict::Pass,
            code: None,
            cause: "Because.".into(),
            remedy: String::new(),
        };
        let text = checklist(&Report { findings: vec![finding("x".repeat(70_000)), finding("notes".into())] });
        assert!(text.ends_with(&format!("✓ {:<40}  Because.\n", "notes")));
    }

    #[test]
    fn verdicts_have_marks_and_remedies_follow() {
        let finding = |id: &str, verdict, remedy: &str| Finding {
            id: id.into(),
            verdict,
            code: (verdict == Verdict::Fail).then(|| "slot-small".into()),
            cause: "Because\x1b[2J.".into(),
            remedy: remedy.into(),
        };
        let report = Report {
            findings: vec![
                finding("digests", Verdict::Pass, ""),
                finding("fits", Verdict::Fail, "Shrink it."),
                finding("x", Verdict::Unknown, "Ask."),
            ],
        };
        assert_eq!(
            checklist(&report),
            "✓ digests  Because [2J.\n✗ fits     Because [2J.\n           → Shrink it. [slot-small]\n\
             ? x        Because [2J.\n           → Ask.\n"
        );
        assert_eq!(summary(&report), "3 rules: 1 pass, 1 unknown, 1 fail");
    }
}
