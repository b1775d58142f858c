//! Decides which reports count that an operator carries. Pure.
//!
//! The branch's key does not prove them.

use wire::Code;
use wire::v1::reports::{NotTaken, Numbered, Report};

use super::report_error::ReportError;

/// Who brings reports of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// Its server, by certificate.
    Branch,
    /// An admin by hand, who may deny and allow terminals anyway.
    Admin,
    /// An operator by hand.
    Operator,
}

/// Judges whether the bearer may bring reports under this numbering.
///
/// Its reports up to `through` are stored.
///
/// # Errors
/// An operator would begin a numbering beside the branch's: the branch's own reports would then be refused.
pub fn judge_numbering(bearer: Bearer, through: u64, is_only: bool) -> Result<(), ReportError> {
    if bearer == Bearer::Operator && through == 0 && !is_only { Err(ReportError::CarriedNumbering) } else { Ok(()) }
}

/// Judges a report that is new.
///
/// The inner error says why it is only acknowledged.
///
/// What is said again later may be passed over. What is said once would be lost by that, so that the batch is refused.
///
/// # Errors
/// Only the branch or an admin may bring it.
pub fn judge(bearer: Bearer, numbered: &Numbered) -> Result<Result<(), NotTaken>, ReportError> {
    let (seq, kind) = (numbered.seq, kind(&numbered.report));
    match numbered.report {
        _ if bearer != Bearer::Operator => Ok(Ok(())),
        Report::TerminalDenied { .. } | Report::NumbersReused { .. } => Err(ReportError::CarriedProof { seq, kind }),
        Report::AuditHead { .. } => {
            let text = "The head of the branch's audit log counts if an admin carries it. The branch server reports it \
                again over the link.";
            Ok(Err(NotTaken { seq, code: Code::Forbidden, text: text.to_owned() }))
        }
        _ => Ok(Ok(())),
    }
}

/// The kind of a report, as it is written.
pub fn kind(report: &Report) -> String {
    match report {
        Report::Unknown(unknown) => unknown.kind(),
        known => {
            let json = serde_json::to_value(known).unwrap_or_default();
            json.get("kind").and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned()
        }
    }
}
