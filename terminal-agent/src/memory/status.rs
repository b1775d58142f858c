//! `terminal-agent status`: what the journal says, for people and programs.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use wire::v1::evidence::Sentence;

use crate::memory::journal::Journal;
use crate::memory::keeper::{JournalError, load};
use crate::model::limits::UNJUDGED_TRIALS;

/// What the journal in this file says.
///
/// # Errors
/// It cannot be read or is damaged.
pub fn read(path: &Path) -> Result<Option<Journal>, JournalError> {
    load(path)
}

/// For programs.
pub fn as_json(journal: &Journal) -> Value {
    let (done, total) = journal.state.segments();
    let update = journal.state.update();
    json!({
        "state": journal.state.name(),
        "since": journal.since,
        "product": update.map(|u| &u.product),
        "version": update.map(|u| &u.version),
        "payload": update.map(|u| &u.payload.sha256),
        "target": update.map(|u| u.target),
        "segments_done": done,
        "segments_total": total,
        "reason": journal.state.reason(),
        "evidence": journal.state.evidence(),
        "waiting": journal.waiting,
        "trouble": journal.trouble.as_ref().map(|t| json!({"count": t.count, "reason": t.verdict.reason})),
        "running": journal.announced.as_ref().map(|a| json!({"slot": a.slot, "version": a.version})),
        "plan_serial": journal.floor,
        "failed_before": journal.memory.blamed,
        "unjudged": journal.memory.unjudged,
        "unjudged_trials": UNJUDGED_TRIALS,
    })
}

/// For people.
pub fn as_text(journal: &Journal) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<10} {value}");
    };
    if let Some(running) = &journal.announced {
        line("running", format!("{} in slot {}", running.version, running.slot));
    }
    line("update", format!("{} since {}", journal.state.name(), journal.since.format("%F %T UTC")));
    if let Some(update) = journal.state.update() {
        line("release", format!("{} {} into slot {}", update.product, update.version, update.target));
        let (done, total) = journal.state.segments();
        line("segments", format!("{done} of {total}"));
    }
    let trouble = journal.trouble.as_ref().map(|t| &t.verdict.reason);
    for (name, reason) in
        [("reason", journal.state.reason()), ("waits for", journal.waiting.as_ref()), ("trouble", trouble)]
    {
        if let Some(reason) = reason {
            line(name, format!("{}: {}", reason.code.cleaned(), reason.text));
        }
    }
    if let Some(evidence) = journal.state.evidence() {
        let boot = evidence.boot_id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        line("last boot", format!("{boot} of slot {}, tried {} times", evidence.slot, evidence.tried));
        for text in evidence.note.iter().map(Sentence::as_str).chain(evidence.lines.lines()) {
            line("", text.to_owned());
        }
    }
    for unjudged in journal.memory.unjudged.values() {
        let (trials, version) = (format!("{} of {UNJUDGED_TRIALS}", unjudged.trials), &unjudged.version);
        let at = unjudged.at.format("%F");
        line("unjudged", format!("{version}, trial {trials} on {at}: {}", unjudged.reason.text));
    }
    for blamed in journal.memory.blamed.values() {
        line("failed", format!("{} on {}: {}", blamed.version, blamed.at.format("%F"), blamed.reason.text));
    }
    text
}
