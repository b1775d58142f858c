//! The alert about a branch's audit that was cut back, and how long it lasts.

use fleet_types::BranchName;

use super::fleet::AuditCut;
use super::status::Alert;
use crate::reason::{Reason, ReasonCode};

/// Days for which an audit that was cut back is an alert; `filial branch show` shows it from then on.
pub const ALERT_DAYS: u32 = 30;

/// The alert that the audit of `branch` was cut back or rewritten.
pub fn alert(branch: &BranchName, cut: &AuditCut) -> Alert {
    let reason = Reason::of(ReasonCode::BranchAuditCut).with("branch", branch).with("kept", cut.kept.seq);
    let reason = reason.with("found", cut.found).with("at", cut.noticed);
    let remedy = format!(
        "If the branch's database was restored from a copy or begun again, entries since then are lost. If not, entries were \
         deleted: preserve the database and audit-anchor.json of the branch server, and compare with exports of `filial audit \
         export --at {branch}`. This alert ends after {ALERT_DAYS} days."
    );
    Alert { reason, remedy }
}
