//! How the errors of head office's parts become refusals.

use service_kit::server::ApiError;
use trust::{Refusal, Why};
use wire::Code;
use wire::v1::releases::Finding;

use crate::fleet::report_error::ReportError;
use crate::intake::IntakeError;
use crate::releases::moves::MoveError;
use crate::releases::signing::SigningError;
use crate::releases::uploads::UploadError;
use crate::rollout::tick::TickError;
use crate::stock::budget::BudgetError;
use crate::store::claims::ClaimError;
use crate::trust::TrustError;

/// What handlers answer.
pub type ApiResult<T> = Result<T, ApiError>;

/// A release that did not move, as a refusal.
pub fn not_moved(error: MoveError) -> ApiError {
    match error {
        MoveError::NotAllowed(error) => ApiError::new(
            Code::WrongState,
            format!("This is not possible now: {error}."),
            "Check the release's state (`filial release show`).",
        ),
        MoveError::Overtaken { release, expected } => ApiError::new(
            Code::WrongState,
            format!("Release {release} is no longer {expected}: another change came first, and this one was not made."),
            format!("Look at it (`filial release show {release}`) and repeat the change if it is still needed."),
        ),
        MoveError::Database(error) => error.into(),
        MoveError::Plan(error) => error.into(),
    }
}

/// A release that a freeze keeps back, as a refusal.
pub fn frozen(finding: Finding) -> ApiError {
    ApiError::new(Code::Frozen, finding.cause, finding.remedy)
}

/// What the library of trust refused, under the code that callers match on.
pub fn untrusted(refusal: &Refusal) -> ApiError {
    let code = match refusal.why() {
        Why::SignAgain => Code::SignAgain,
        Why::ProposalUnknownKey => Code::UnknownSigner,
        Why::TooLarge => Code::TooLarge,
        Why::Storage | Why::StoreDamaged | Why::RoleUnsigned | Why::Crypto => Code::TrustUnavailable,
        _ => Code::SignatureRefused,
    };
    ApiError::new(code, capital(refusal.sentence().to_owned()), refusal.remedy())
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Report(error) => error.into(),
            IntakeError::Plan(error) => error.into(),
        }
    }
}

impl From<ReportError> for ApiError {
    fn from(error: ReportError) -> Self {
        let text = capital(format!("{error}."));
        match error {
            ReportError::UnknownBranch(branch) => Self::not_found(format_args!("branch {branch}")),
            ReportError::TooLong(count) => {
                Self::new(Code::BatchTooLong, text, "Send them in several requests.").with("reports", count)
            }
            ReportError::Field { field, why } => Self::bad_field(field, why),
            ReportError::OutOfOrder { first, next } => {
                Self::new(Code::ReportOutOfOrder, text, format!("Send the reports from {next} on."))
                    .with("first", first)
                    .with("next", next)
            }
            ReportError::StateNotProven { branch, terminal, .. }
            | ReportError::EvidenceNotProven { branch, terminal } => {
                let remedy = "If the terminal has a new key, an operator accepts it (`filial terminal show`, `filial terminal \
                    accept-key`). If it has not, inspect its branch server.";
                Self::new(Code::ReportNotProven, text, remedy).with("branch", branch).with("terminal", terminal)
            }
            ReportError::TooManyTerminals { branch, count, .. } => {
                let remedy = "Divide the branch; each part needs a separate branch server.";
                Self::new(Code::TooManyTerminals, text, remedy).with("branch", branch).with("terminals", count)
            }
            ReportError::Database(error) => error.into(),
        }
    }
}

impl From<TickError> for ApiError {
    fn from(error: TickError) -> Self {
        match error {
            TickError::Database(error) => error.into(),
            TickError::Sign { ref branch, ref source } => {
                let detail = format!("The plan of branch {branch} could not be signed. {}", source.sentence());
                Self::new(Code::TrustUnavailable, detail, source.remedy()).because(error)
            }
            TickError::NotPlanned { .. } => Self::internal(error),
        }
    }
}

impl From<TrustError> for ApiError {
    fn from(error: TrustError) -> Self {
        match &error {
            TrustError::Refused(refusal) => untrusted(refusal).because(error),
            _ => Self::internal(error),
        }
    }
}

impl From<SigningError> for ApiError {
    fn from(error: SigningError) -> Self {
        match error {
            SigningError::Other(other) => {
                let remedy = "Sign exactly the archive that was uploaded: `filial release sign`.";
                Self::new(Code::OtherRelease, other.to_string(), remedy)
            }
            SigningError::Refused(refusal) => untrusted(&refusal),
            SigningError::Trust(error) => error.into(),
            SigningError::Move(error) => not_moved(error),
        }
    }
}

impl From<BudgetError> for ApiError {
    fn from(error: BudgetError) -> Self {
        match error {
            BudgetError::Exceeded { budget, used, needed, .. } => {
                let remedy = "Withdraw releases that no branch needs, or raise store.budget_bytes.";
                Self::new(Code::DiskFull, capital(format!("{error}.")), remedy)
                    .with("budget", budget)
                    .with("used", used)
                    .with("needed", needed)
            }
            BudgetError::Database(error) => error.into(),
        }
    }
}

impl From<ClaimError> for ApiError {
    fn from(error: ClaimError) -> Self {
        UploadError::from(error).into()
    }
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        let text = capital(format!("{error}."));
        match error {
            UploadError::Claim(ClaimError::Busy) => Self::new(
                Code::UploadBusy,
                text,
                "Wait until it ends, or cancel the upload; an older request of the same operator is ended at once.",
            ),
            UploadError::Claim(ClaimError::TakenOver) => Self::new(
                Code::UploadTakenOver,
                text,
                "What arrived is kept. Make sure that only one program sends this archive, then ask for the offset.",
            ),
            UploadError::WrongOffset { .. } => {
                Self::new(Code::OffsetMismatch, text, "Ask for the upload's offset and continue there.")
            }
            UploadError::TooLong { .. } => Self::new(Code::TooLarge, text, "Create an upload of the right length."),
            UploadError::DiskFull { .. } | UploadError::Reserve { .. } => {
                let remedy = "Free space on head office's store, then continue the upload: what arrived is kept.";
                Self::new(Code::DiskFull, text, remedy).because(error)
            }
            UploadError::Gone => Self::new(Code::NotFound, text, "Start the upload again."),
            UploadError::Io { .. } | UploadError::Worker(_) => Self::internal(error),
        }
    }
}

/// A sentence begins with a capital letter.
fn capital(mut text: String) -> String {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::ResponseError as _;
    use fleet_types::ReleaseState;
    use uuid::Uuid;

    #[test]
    fn an_overtaken_move_is_a_conflict_and_an_unplanned_branch_a_defect() {
        let release = Uuid::from_u128(7);
        let refused = not_moved(MoveError::Overtaken { release, expected: ReleaseState::Approved });
        assert_eq!((refused.code(), refused.status_code().as_u16()), (Code::WrongState, 409));
        let problem = refused.problem();
        assert!(problem.detail.contains(&format!("Release {release} is no longer approved")), "{problem:?}");
        assert!(problem.remedy.contains(&format!("filial release show {release}")), "{problem:?}");
        let defect = ApiError::from(TickError::NotPlanned { branch: "north".parse().unwrap() });
        assert_eq!((defect.code(), defect.status_code().as_u16()), (Code::Internal, 500));
        let forbidden = not_moved(ReleaseState::Published.to(ReleaseState::Approved).unwrap_err().into());
        assert_eq!((forbidden.code(), forbidden.status_code().as_u16()), (Code::WrongState, 409));
    }
}
