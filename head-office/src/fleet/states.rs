//! States of terminals: who signed them, and whether they are news. A branch server only carries them, and could be in other
//! hands: it can neither make one up nor send an old one again.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, TerminalName};
use service_kit::database::{DatabaseError, GenericClient};
use trust::PublicKey;
use wire::Code;
use wire::v1::reports::{NotTaken, UpdateReport};

use crate::db;
use crate::db::updates::Known;

/// Why a state does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The terminal did not sign it.
    NotProven,
    /// Head office knows no key of the terminal yet.
    NoKey,
    /// The terminal did not sign what was found of a failed boot.
    EvidenceNotProven,
    /// It is signed with a key that no operator accepted yet, and held until one does.
    Held,
    /// The terminal signed it, and a later one since.
    Old,
}

impl Doubt {
    /// The answer to the branch.
    pub fn answer(self, seq: u64, branch: &BranchName, terminal: &TerminalName) -> NotTaken {
        let (code, text) = match self {
            Self::NotProven => (
                Code::ReportNotProven,
                format!("The state of {branch}/{terminal} is not signed by the terminal; inspect its branch server."),
            ),
            Self::NoKey => (
                Code::ReportNotProven,
                format!(
                    "No key of terminal {branch}/{terminal} is known yet; it must enrol with its branch server again."
                ),
            ),
            Self::EvidenceNotProven => (
                Code::ReportNotProven,
                format!(
                    "The log of a failed boot of {branch}/{terminal} is not signed by the terminal; inspect its branch server."
                ),
            ),
            Self::Held => (
                Code::ReportHeld,
                format!(
                    "Terminal {branch}/{terminal} has a new key; its state counts once an operator accepts it (`filial terminal \
                     show`, `filial terminal accept-key`)."
                ),
            ),
            Self::Old => (
                Code::ReportOld,
                format!(
                    "Terminal {branch}/{terminal} has reported a later state since; if this comes again, inspect its branch server."
                ),
            ),
        };
        NotTaken { seq, code, text }
    }
}

/// Returns whether a state may follow what is known, when `newest_plan` is the serial of the branch's newest plan.
///
/// The serials of a branch's plans rise, and a plan has one payload for a terminal's product: a lower serial, or another payload
/// under the same serial, was signed before. Within a serial a terminal may try again, so that any state may follow another: the
/// positions tell which came later, once an agent gives them. A serial of which head office knows no plan shuts nothing out: the
/// terminal, or a thief of the plan key, made it up.
pub fn is_news(known: Option<Known>, newest_plan: Option<u64>, report: &UpdateReport) -> bool {
    known.filter(|known| newest_plan.is_some_and(|newest| known.serial <= newest)).is_none_or(|known| {
        let later = known.position.is_none_or(|before| position(report).is_some_and(|position| position > before));
        report.serial > known.serial || (report.serial == known.serial && report.payload == known.payload && later)
    })
}

fn position(report: &UpdateReport) -> Option<u64> {
    report.position.as_ref().map(|position| position.number)
}

/// Stores a state of a terminal that there is, if the terminal signed it and it is news. `c` must be a transaction.
///
/// # Errors
/// As every statement.
pub async fn take<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
    update: &UpdateReport,
    at: DateTime<Utc>,
) -> Result<Option<Doubt>, DatabaseError> {
    let keys = db::terminals::keys(c, branch, terminal).await?;
    if let Err(doubt) = prove(keys.accepted.as_ref(), branch, terminal, update) {
        if keys.asked.is_some() && prove(keys.asked.as_ref(), branch, terminal, update).is_ok() {
            return hold(c, branch, terminal, update, at).await.map(Some);
        }
        let keyless = doubt == Doubt::NotProven && keys.accepted.is_none() && keys.asked.is_none();
        return Ok(Some(if keyless { Doubt::NoKey } else { doubt }));
    }
    let newest_plan = db::plans::newest_serial(c, branch).await?;
    let newest = db::updates::newest_for_update(c, branch, terminal, &update.product).await?;
    if !is_news(newest.as_ref().map(|newest| newest.known), newest_plan, update) {
        return Ok(Some(Doubt::Old));
    }
    db::updates::record(c, branch, terminal, newest.as_ref(), update, at).await?;
    Ok(None)
}

/// Holds a state that is signed with a key that waits, unless a later one is held.
async fn hold<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
    update: &UpdateReport,
    at: DateTime<Utc>,
) -> Result<Doubt, DatabaseError> {
    let newest_plan = db::plans::newest_serial(c, branch).await?;
    let held = db::held_reports::find(c, branch, terminal, &update.product).await?;
    let known = held.map(|held| Known { serial: held.serial, payload: held.payload, position: position(&held) });
    if !is_news(known, newest_plan, update) {
        return Ok(Doubt::Old);
    }
    db::held_reports::hold(c, branch, terminal, update, at).await?;
    Ok(Doubt::Held)
}

/// Lets count what was held of a terminal whose key was just accepted. `c` must be the transaction that accepted it.
///
/// # Errors
/// As every statement.
pub async fn take_held<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
) -> Result<(), DatabaseError> {
    for (at, update) in db::held_reports::take(c, branch, terminal).await? {
        if let Some(doubt) = take(c, branch, terminal, &update, at).await? {
            tracing::warn!(%branch, %terminal, ?doubt, state = %update.state, "a state that was held does not count");
        }
    }
    Ok(())
}

/// Whether a terminal signed a state, and what it found of a failed boot.
fn prove(
    key: Option<&PublicKey>,
    branch: &BranchName,
    terminal: &TerminalName,
    update: &UpdateReport,
) -> Result<(), Doubt> {
    let holds = |statement: &str, proof: &str| key.is_some_and(|key| key.verify_text(statement, proof));
    if !update.proven(branch, terminal, holds) {
        return Err(Doubt::NotProven);
    }
    let evidence = update.evidence.as_ref().and_then(|evidence| evidence.proof.as_ref());
    match update.evidence_statement(branch, terminal) {
        Some(statement) if !evidence.is_some_and(|proof| holds(&statement, proof)) => Err(Doubt::EvidenceNotProven),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use fleet_types::UpdateState;
    use wire::v1::reports::Position;

    use super::*;

    fn report(serial: u64, payload: u8) -> UpdateReport {
        UpdateReport {
            serial,
            product: "till".parse().unwrap(),
            version: "2.0.0".parse().unwrap(),
            payload: [payload; 32].into(),
            from: None,
            state: UpdateState::Confirmed,
            segments_done: 1,
            segments_total: 1,
            reason: None,
            proof: None,
            position: None,
            evidence: None,
        }
    }

    #[test]
    fn a_state_of_an_earlier_plan_or_of_another_payload_of_the_same_is_no_news() {
        let known = Some(Known { serial: 20, payload: [2; 32].into(), position: None });
        let news = |serial, payload| is_news(known, Some(30), &report(serial, payload));
        assert!(is_news(None, Some(30), &report(1, 1)));
        assert!(news(20, 2) && news(21, 2) && news(21, 1));
        assert!(!news(19, 2) && !news(10, 1) && !news(20, 1));
    }

    #[test]
    fn within_a_serial_states_follow_their_positions() {
        let known = |position| Some(Known { serial: 20, payload: [2; 32].into(), position });
        let at = |number: Option<u64>| {
            let position = number.map(|number| Position { number, proof: String::new() });
            UpdateReport { position, ..report(20, 2) }
        };
        let news = |before, number| is_news(known(before), Some(30), &at(number));
        assert!(news(None, None) && news(None, Some(1)) && news(Some(7), Some(8)));
        assert!(!news(Some(7), Some(7)) && !news(Some(7), Some(6)) && !news(Some(7), None));
        let later = UpdateReport { position: None, ..report(21, 2) };
        assert!(is_news(known(Some(7)), Some(30), &later), "a later plan ordered it");
    }

    #[test]
    fn a_serial_without_a_plan_shuts_nothing_out() {
        let made_up = Some(Known { serial: u64::MAX, payload: [2; 32].into(), position: None });
        assert!(is_news(made_up, Some(30), &report(30, 1)) && is_news(made_up, None, &report(1, 1)));
    }
}
