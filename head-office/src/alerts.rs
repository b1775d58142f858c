//! Alerts: conditions that need an operator's attention, shown in `/v1/status` until they end.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient};
use wire::v1::fleet::AuditCut;
use wire::v1::numbering;
use wire::v1::status::Alert;
use wire::{Reason, ReasonCode};

use crate::db;
use crate::db::reused_numbers::Most;

/// Most alerts of the background tasks that are shown.
const MAX_SHOWN: usize = 100;

/// Machines that are shown of those that used numbers of reports twice.
const REUSED: Most = Most { of_branch: 3, in_all: 20 };

/// Branches that are shown of those whose audit was cut.
const CUT: u64 = 20;

/// Days for which an audit that was cut back is an alert; `filial branch show` shows it from then on.
const CUT_DAYS: u32 = 30;

/// Terminals that are shown of those whose new key waits for an operator.
const ASKING: i64 = 20;

/// The alerts of the last look.
#[derive(Debug, Default)]
pub struct Alerts(Mutex<Vec<Alert>>);

impl Alerts {
    /// These, and no others, are to be looked at.
    pub fn set(&self, alerts: impl Iterator<Item = Alert>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = alerts.take(MAX_SHOWN).collect();
    }

    /// What is to be looked at now: of the background tasks, and of the fleet.
    ///
    /// # Errors
    /// As every statement.
    pub async fn current<C: GenericClient>(&self, c: &C, now: DateTime<Utc>) -> Result<Vec<Alert>, DatabaseError> {
        let mut alerts = self.of_tasks();
        let since = now - TimeDelta::days(CUT_DAYS.into());
        let cut = db::branch_audits::cut_since(c, since, CUT).await?;
        alerts.extend(cut.iter().filter_map(|(branch, audit)| audit.cut.map(|cut| audit_cut(branch, &cut))));
        let since = now - TimeDelta::days(numbering::ALERT_DAYS.into());
        let reused = db::reused_numbers::since(c, since, now, REUSED).await?;
        let count = db::reused_numbers::count(c, since, now).await?;
        alerts.extend(reused.iter().map(|machine| numbering::alert(&machine.machine, machine.times, machine.last_at)));
        let more = count.saturating_sub(reused.len() as u64);
        alerts.extend((more > 0).then(|| numbering::alert_of_more(more)));
        for terminal in db::terminals::asking(c, ASKING).await? {
            alerts
                .extend(terminal.asked_key.map(|key| asking(&format!("{}/{}", terminal.branch, terminal.name), &key)));
        }
        Ok(alerts)
    }

    fn of_tasks(&self) -> Vec<Alert> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The alert that the audit of `branch` was cut back or rewritten.
fn audit_cut(branch: &BranchName, cut: &AuditCut) -> Alert {
    let reason = Reason::of(ReasonCode::BranchAuditCut).with("branch", branch).with("kept", cut.kept.seq);
    let reason = reason.with("found", cut.found).with("at", cut.noticed);
    let remedy = format!(
        "If the branch's database was restored from a copy or begun again, entries since then are lost. If not, entries were \
         deleted: preserve the database and audit-anchor.json of the branch server, and compare with exports of `filial audit \
         export --at {branch}`. This alert ends after {CUT_DAYS} days."
    );
    Alert { reason, remedy }
}

/// The alert that a terminal's new key waits.
fn asking(terminal: &str, key: &str) -> Alert {
    let reason = Reason::of(ReasonCode::KeyAsked).with("machine", terminal).with("key", key);
    let remedy = format!(
        "If the change is legitimate: `filial terminal accept-key {terminal} {key}`. If not, inspect its branch server."
    );
    Alert { reason, remedy }
}
