//! Renders a release's name and progress.

use wire::v1::releases::{Progress, Release};

use super::plain;
use super::units::{bar, percent, size_of, span};

/// Width of a bar, in cells.
pub(crate) const BAR: usize = 20;

/// A release's display name: product and version, or its file while these are unknown.
pub(crate) fn display_name(r: &Release) -> String {
    match (&r.product, &r.version) {
        (Some(product), Some(version)) => format!("{product} {version}"),
        _ => plain(&r.file_name),
    }
}

/// Renders a step in progress: a bar, the amount and the remaining time.
pub(crate) fn progress(p: &Progress) -> String {
    let amount = if p.unit == "bytes" { size_of(p.done, p.total) } else { format!("{} of {}", p.done, p.total) };
    let left = p.seconds_left.map(|s| format!(", {} left", span(s))).unwrap_or_default();
    format!("{} {} {} {amount}{left}", plain(&p.step), bar(p.done, p.total, BAR), percent(p.done, p.total))
}
