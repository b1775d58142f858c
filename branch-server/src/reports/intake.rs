//! Reports of terminals: each counts exactly once. What a batch says is stored, and queued for head office, in the
//! transaction that also remembers how far the terminal's numbering has come; then it is acknowledged. A state that its terminal
//! did not sign is named and passed over.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet_types::TerminalName;
use service_kit::Clock;
use service_kit::clock::instant;
use service_kit::database::{Connection, DatabaseError, Pool, Transaction, begin, commit, connection};
use service_kit::server::{ApiError, Missing};
use service_kit::turns::Turns;
use wire::Code;
use wire::v1::numbering::{self, Refused};
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report, UpdateReport};

use super::proofs::{Pace, Sender};
use super::{relay, reused, shape};
use crate::db::report_epochs::Numbering;
use crate::db::{moves, report_epochs, site, terminals, updates};
use crate::metrics::BranchMetrics;
use crate::signals::Signals;

/// Most reports of one terminal that may wait for head office, so that it takes no room of others: more than a hundred updates.
const MAX_OF_TERMINAL: u64 = 1000;

/// The time that a refusal takes. A terminal has eight requests at once: it is refused sixteen times a second.
const REFUSED_AFTER: Duration = Duration::from_millis(500);

/// What the intake of reports uses.
pub struct Intake {
    /// PostgreSQL.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// This program's metrics.
    pub metrics: BranchMetrics,
    /// Wake-up calls.
    pub signals: Arc<Signals>,
    /// Most reports that may wait for head office.
    pub max_waiting: u64,
    /// One batch at a time, as this server's row has them in any case: others wait here, and not with a connection of the
    /// database in hand.
    pub turns: Turns<()>,
    /// One batch of a terminal at a time: however many it sends, each other terminal waits for one of them at most.
    pub turns_of_terminal: Turns<TerminalName>,
    /// Bounds what one terminal may send, here and when it enrols.
    pub pace: Arc<Pace>,
}

impl Intake {
    /// Lets a batch of a terminal in, or refuses it after a while: the terminal's next requests wait for it, so that one that goes
    /// on sending takes little of what the others need.
    ///
    /// # Errors
    /// The terminal sent too much.
    pub async fn admit(&self, terminal: &TerminalName) -> Result<(), ApiError> {
        let admitted = self.pace.may_send(terminal, instant());
        if admitted.is_err() {
            tokio::time::sleep(REFUSED_AFTER).await;
        }
        admitted
    }

    /// Stores what is new in `batch`.
    ///
    /// # Errors
    /// The batch is malformed, has a gap, or names another terminal, or the terminal sends too much; nothing of it is stored then.
    pub async fn store(&self, sender: Sender<'_>, batch: &Batch) -> Result<Acknowledged, ApiError> {
        let terminal = sender.terminal;
        // None is refused: the listener bounds how many of a terminal there are.
        let _turn_of_terminal = self.turns_of_terminal.take(terminal.clone()).await;
        self.pace.admit(terminal, batch.reports.len(), instant())?;
        shape::check(terminal, batch)?;
        let unproven = sender.unproven(batch);
        self.pace.unproven(terminal, unproven.len(), instant());
        let _turn = self.turns.take(()).await;
        let now = self.clock.now();
        let mut client = connection(&self.pool).await?;
        let tx = begin(&mut client).await?;
        // This server's row before the terminal's, here as everywhere: one order of locks, no deadlock.
        site::lock(&tx).await?;
        if !terminals::lock(&tx, terminal).await? {
            return Err(ApiError::not_found(Missing::Terminal, &terminal));
        }
        terminals::heard(&tx, terminal, now).await?;
        let Numbering { through: before, mut recent, elsewhere, superseded } =
            report_epochs::read(&tx, terminal, batch.epoch).await?;
        match numbering::judge(&recent, before, superseded, &batch.reports) {
            Ok(()) => {}
            Err(Refused::Reused { seq } | Refused::Superseded { seq }) => {
                tx.rollback().await.map_err(|e| DatabaseError::Transaction("rollback", e))?;
                return Err(self.refuse_reused(&mut client, terminal, seq, now).await?);
            }
            Err(Refused::Gap { first, next }) => {
                let detail = format!("Report {first} came where {next} was expected.");
                let remedy = "Send the missing reports; if they are lost, start a new epoch at 1.";
                return Err(ApiError::new(Code::ReportOutOfOrder, detail, remedy));
            }
        }
        let fresh: Vec<&Numbered> = batch.reports.iter().filter(|r| r.seq > before).collect();
        if !fresh.is_empty() && relay::waiting(&tx).await?.0 >= self.max_waiting {
            let detail = "The queue of reports for head office is full: head office has been unreachable for too long.";
            return Err(ApiError::new(Code::TooMany, detail, "Keep the reports and try again later."));
        }
        let more = fresh.len() as u64;
        if more > 0 && relay::waiting_of(&tx, terminal).await?.saturating_add(more) > MAX_OF_TERMINAL {
            let detail = format!("{MAX_OF_TERMINAL} reports of {terminal} wait for head office.");
            return Err(ApiError::new(Code::TooMany, detail, "Keep the reports and try again later."));
        }
        let (mut unknown, mut first_unknown, mut noticed) = (0, None, false);
        for numbered in &fresh {
            let digest = numbering::digest(numbered);
            recent.push(digest);
            // Its content was not understood, so it is not relayed: acknowledged and counted, it blocks nothing.
            if let Report::Unknown(report) = &numbered.report {
                unknown += 1;
                first_unknown.get_or_insert((numbered.seq, report));
                continue;
            }
            if unproven.contains_key(&numbered.seq) {
                continue;
            }
            if elsewhere.contains(&digest) {
                // Stored under a number of another numbering: a sender that began a new numbering sends what it has again.
                continue;
            }
            if let Report::NumbersReused { .. } = &numbered.report {
                // The terminal noticed first. Its word is one count, however often it gives it.
                noticed = true;
                continue;
            }
            apply(&tx, terminal, numbered, now).await?;
            relay::queue(&tx, numbered.at, &numbered.report).await?;
        }
        if noticed {
            reused::count(&tx, terminal, now).await?;
        }
        let through = fresh.last().map_or(before, |last| last.seq);
        if batch.reports.is_empty() {
            // No numbering begins with nothing.
            return Ok(Acknowledged::all(through));
        }
        report_epochs::set(&tx, terminal, batch.epoch, through, &recent, now).await?;
        commit(tx).await?;
        if let Some((seq, report)) = first_unknown {
            // One line for all of them: a batch must not flood the log.
            let kind = report.kind();
            tracing::warn!(%terminal, unknown, seq, kind, "skipped reports of kinds that this version does not know");
        }
        let not_taken: Vec<_> = unproven.into_values().filter(|refused| refused.seq > before).collect();
        if let Some(first) = not_taken.first() {
            tracing::warn!(%terminal, count = not_taken.len(), first = first.text, "states that the terminal did not sign");
        }
        self.metrics.reports_unproven.inc_by(not_taken.len() as u64);
        self.metrics.reports_stored.inc_by((fresh.len() - not_taken.len()) as u64 - unknown);
        self.metrics.reports_unknown.inc_by(unknown);
        self.signals.relay.notify_one();
        Ok(Acknowledged { through, not_taken })
    }

    /// Records that `terminal` used numbers twice, tells head office, and returns the refusal.
    async fn refuse_reused(
        &self,
        client: &mut Connection,
        terminal: &TerminalName,
        seq: u64,
        now: DateTime<Utc>,
    ) -> Result<ApiError, DatabaseError> {
        let tx = begin(client).await?;
        site::lock(&tx).await?;
        let is_reported = reused::count(&tx, terminal, now).await?;
        commit(tx).await?;
        self.metrics.numbers_reused.inc();
        if is_reported {
            self.signals.relay.notify_one();
            // As seldom as head office is told: two machines with one identity are refused again and again.
            tracing::warn!(%terminal, seq, "numbers of reports were used twice: restored from a copy, or two machines with one identity");
        }
        let detail = format!(
            "Report {seq} of {terminal} was already received with other content, or continues a numbering after a newer one began: \
             the terminal was restored from a copy, or two machines share its identity."
        );
        let remedy = "Begin a new numbering at 1; if this comes again, find the second machine with this identity.";
        Ok(ApiError::new(Code::NumberReused, detail, remedy))
    }
}

async fn apply(
    tx: &Transaction<'_>,
    terminal: &TerminalName,
    numbered: &Numbered,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    match &numbered.report {
        Report::TerminalSeen { facts, .. } => terminals::set_facts(tx, facts).await,
        Report::Running { slot, version, .. } => terminals::set_running(tx, terminal, *slot, version).await,
        Report::Update { update, .. } => apply_update(tx, terminal, update, numbered.at).await,
        // Refused by `check` or counted above; a bad peer, a package or a refusal is for head office, which gets it by the queue.
        Report::Artifact { .. }
        | Report::Store { .. }
        | Report::PlanRefused { .. }
        | Report::AuditHead { .. }
        | Report::Package { .. }
        | Report::TerminalRefusesPlan { .. }
        | Report::BadPeer { .. }
        | Report::NumbersReused { .. }
        | Report::TerminalDenied { .. }
        | Report::Unknown(_) => terminals::heard(tx, terminal, now).await,
    }
}

async fn apply_update(
    tx: &Transaction<'_>,
    terminal: &TerminalName,
    update: &UpdateReport,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let known = updates::read(tx, terminal).await?.filter(|known| known.is_same(update));
    match known {
        // Progress within a state is not a transition.
        Some(known) if known.update.state == update.state => updates::write(tx, terminal, update, known.since).await,
        Some(_) => {
            moves::insert(tx, terminal, update, at).await?;
            updates::write(tx, terminal, update, at).await
        }
        None => {
            moves::clear(tx, terminal).await?;
            moves::insert(tx, terminal, update, at).await?;
            updates::write(tx, terminal, update, at).await
        }
    }
}
