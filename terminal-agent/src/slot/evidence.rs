//! Which boots of a trial failed, and what is left of the last of them. Pure but for [`collect`], which asks the port.
//!
//! The early records count boots, and so give their order. Clocks are not asked: before the time is
//! synchronised they show anything.

use fleet_types::Slot;
use service_kit::edge::chain;
use wire::ReasonCode;
use wire::v1::evidence::{BootEvidence, JOURNAL, KERNEL, MAX_TRIED, Sentence, Tail, Word};

use crate::model::boots::EarlyRecord;
use crate::model::reasons::continued;
use crate::model::update::Verdict;
use crate::ports::BootLogs;

/// Whether two ids are of the same boot: the kernel writes dashes, the journal does not.
fn is_same(a: &str, b: &str) -> bool {
    a.bytes().filter(|c| *c != b'-').eq(b.bytes().filter(|c| *c != b'-'))
}

/// Whose boots are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTrial {
    /// The slot that was tried.
    pub slot: Slot,
    /// The boot in which the activation was begun.
    ///
    /// `None` if an agent that did not keep it began it.
    pub begun_in: Option<String>,
    /// The boot that runs now.
    pub now: String,
}

/// What was found; each part, or why it could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The early records, in any order; `None` if this machine keeps none.
    pub early: Result<Option<Vec<EarlyRecord>>, String>,
    /// The boots that the system's journal has lines of, oldest first.
    pub journaled: Result<Vec<String>, String>,
}

/// The last boot that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed<'a> {
    /// Which boot.
    pub boot_id: &'a str,
    /// How many boots failed, this one included.
    pub tried: usize,
    /// Its early record, if there is one.
    pub early: Option<&'a EarlyRecord>,
}

impl Found {
    /// The last failed boot of a trial, or why none is known.
    ///
    /// # Errors
    /// A part of a sentence: why no such boot is known.
    pub fn last_failed(&self, trial: &FailedTrial) -> Result<Failed<'_>, String> {
        let early = match &self.early {
            Ok(Some(records)) => early_failed(records, trial),
            Ok(None) => Err("this machine keeps no early records of its boots".to_owned()),
            Err(why) => Err(why.clone()),
        };
        let no_early = match early {
            Ok(failed) => return Ok(failed),
            Err(why) => why,
        };
        let none = |why: &str| format!("{no_early}, and {why}");
        let boots = self.journaled.as_ref().map_err(|why| none(why))?;
        self.journal_failed(boots, trial).map_err(none)
    }

    /// By the system's journal alone.
    ///
    /// It does not say which slot a boot was of: what is known to be another is left out.
    fn journal_failed<'a>(&self, boots: &'a [String], trial: &FailedTrial) -> Result<Failed<'a>, &'static str> {
        let place = |id: &str| boots.iter().position(|boot| is_same(boot, id));
        let Some(now) = place(&trial.now) else {
            return Err("the system's journal does not know the boot that runs now");
        };
        let before = &boots[..now];
        let begun = trial.begun_in.as_deref().and_then(|id| before.iter().position(|boot| is_same(boot, id)));
        // Without the boot in which it was begun, only the one right before can be meant.
        let between = &before[begun.map_or(before.len().saturating_sub(1), |at| at + 1)..];
        let records = self.early.as_ref().ok().and_then(Option::as_ref);
        let other =
            |id: &str| records.is_some_and(|r| r.iter().any(|r| is_same(&r.boot_id, id) && r.slot != trial.slot));
        let mut failed = between.iter().filter(|id| !other(id));
        match (failed.clone().count(), failed.next_back()) {
            (tried, Some(boot_id)) => Ok(Failed { boot_id, tried, early: None }),
            _ => Err(
                "the system's journal knows of no boot between the one in which the update was activated and this one",
            ),
        }
    }

    /// Whether the system's journal has lines of a boot.
    fn is_journaled(&self, boot_id: &str) -> bool {
        self.journaled.as_ref().is_ok_and(|boots| boots.iter().any(|boot| is_same(boot, boot_id)))
    }
}

fn early_failed<'a>(records: &'a [EarlyRecord], trial: &FailedTrial) -> Result<Failed<'a>, String> {
    let seq = |id: &str| records.iter().find(|r| is_same(&r.boot_id, id)).map(|r| r.seq);
    let (begun, now) = (trial.begun_in.as_deref().and_then(seq), seq(&trial.now));
    let mut before: Vec<&EarlyRecord> = records.iter().filter(|r| now.is_none_or(|now| r.seq < now)).collect();
    before.retain(|r| !is_same(&r.boot_id, &trial.now));
    before.sort_by_key(|r| r.seq);
    let failed: Vec<&EarlyRecord> = match begun {
        Some(begun) => before.into_iter().filter(|r| r.seq > begun && r.slot == trial.slot).collect(),
        // That boot's record is gone: of this trial are only the last ones in a row.
        None => before.into_iter().rev().take_while(|r| r.slot == trial.slot && r.trial).collect(),
    };
    let last = failed.iter().max_by_key(|r| r.seq).copied();
    let Some(last) = last else {
        return Err(format!(
            "the early records of boots name none of slot {} since the update was activated",
            trial.slot
        ));
    };
    Ok(Failed { boot_id: &last.boot_id, tried: failed.len(), early: Some(last) })
}

/// What is told of the last failed boot.
///
/// `journal`: the end of what the system's journal has of it, or why that is not known.
pub fn evidence(slot: Slot, failed: &Failed<'_>, journal: Result<&[u8], &str>) -> BootEvidence {
    let lines = Tail::of(journal.unwrap_or_default());
    let early = failed.early.map(|record| Tail::of(&record.log)).unwrap_or_default();
    let silent = match journal {
        Ok(_) => "the system's journal did not start in that boot".to_owned(),
        Err(why) => format!("the system's journal could not be asked ({why})"),
    };
    let (source, lines, note) = if !lines.is_empty() {
        (Some(JOURNAL), lines, None)
    } else if !early.is_empty() {
        (Some(KERNEL), early, Some(format!("{silent}: these are its kernel's lines until init was started")))
    } else {
        (None, lines, Some(nothing_kept(&format!("its early record has no lines, and {silent}"))))
    };
    BootEvidence {
        slot,
        tried: u32::try_from(failed.tried).unwrap_or(MAX_TRIED).min(MAX_TRIED),
        boot_id: Word::try_from(failed.boot_id.to_owned()).ok(),
        source: source.and_then(|s| Word::try_from(s.to_owned()).ok()),
        note: note.as_deref().and_then(Sentence::of),
        lines,
        proof: None,
    }
}

fn nothing_kept(why: &str) -> String {
    format!("no log of the failed boot was kept: {why}")
}

/// The evidence when no failed boot is known.
pub fn nothing(slot: Slot, why: &str) -> BootEvidence {
    let note = Sentence::of(&nothing_kept(why));
    BootEvidence { slot, tried: 0, boot_id: None, source: None, note, lines: Tail::default(), proof: None }
}

/// Adds to a fallback's verdict whether a log of the failed boot was kept.
///
/// Other verdicts already say what happened. `has_run`: the agent ran in the slot.
pub fn attached(verdict: Verdict, evidence: &BootEvidence, has_run: bool) -> Verdict {
    if verdict.reason.code != ReasonCode::FellBack {
        return verdict;
    }
    let log =
        if evidence.lines.is_empty() { "no log of it was kept" } else { "the last lines of its log are attached" };
    let tried = match evidence.tried {
        0 if has_run => "No log of the failed boot was kept.".to_owned(),
        0 => {
            "No start of the slot is on record, as when its kernel is damaged and the bootloader refuses it.".to_owned()
        }
        1 => format!("The slot was started once, and {log}."),
        times => format!("The slot was started {times} times, and {log}."),
    };
    Verdict { reason: continued(&verdict.reason, &tried), ..verdict }
}

/// Asks for what is left of the last failed boot.
///
/// Never fails: what could not be found out is said in it.
pub async fn collect(logs: &dyn BootLogs, trial: &FailedTrial) -> BootEvidence {
    let journaled = logs.journaled().await;
    let found = Found { early: logs.early().map_err(|e| chain(&e)), journaled: journaled.map_err(|e| chain(&e)) };
    let failed = match found.last_failed(trial) {
        Ok(failed) => failed,
        Err(why) => return nothing(trial.slot, &why),
    };
    let tail = match &found.journaled {
        Ok(_) if !found.is_journaled(failed.boot_id) => Ok(Vec::new()),
        Ok(_) => logs.tail(failed.boot_id).await.map_err(|e| chain(&e)),
        Err(why) => Err(why.clone()),
    };
    evidence(trial.slot, &failed, tail.as_deref().map_err(String::as_str))
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
