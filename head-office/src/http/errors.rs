//! How the errors of head office's parts become refusals.

use service_kit::server::{ApiError, Missing};
use trust::{Refusal, Why};
use wire::{Code, sentences};

use crate::fleet::enrolment::EnrolError;
use crate::fleet::report_error::ReportError;
use crate::http::certificates::{is_denied, was_removed};
use crate::intake::IntakeError;
use crate::releases::approve::ApproveError;
use crate::releases::arriving::ArrivalError;
use crate::releases::moves::MoveError;
use crate::releases::room::RoomError;
use crate::releases::signing::SigningError;
use crate::releases::uploads::UploadError;
use crate::rollout::assign::AssignError;
use crate::rollout::tick::TickError;
use crate::seeding::seeder::SeedError;
use crate::stock::budget::BudgetError;
use crate::store::claims::ClaimError;
use crate::trust::TrustError;

/// The remedy for every join token that is refused.
const ADD_AGAIN: &str = "Ask head office's operator for a new join token: `filial branch add`, after `filial branch remove` if \
    a server enrolled before.";

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
            ReportError::UnknownBranch(branch) => Self::not_found(Missing::Branch, &branch),
            ReportError::Shape(error) => error.into(),
            ReportError::OutOfOrder { first, next } => {
                Self::new(Code::ReportOutOfOrder, text, format!("Send the reports from {next} on."))
                    .with("first", first)
                    .with("next", next)
            }
            ReportError::NumberReused { seq } | ReportError::Superseded { seq } => {
                let remedy =
                    "Begin a new numbering at 1; if this comes again, find the second machine with this identity.";
                Self::new(Code::NumberReused, text, remedy).with("seq", seq)
            }
            ReportError::CarriedLate { seq } => {
                let remedy = "Fetch a new kit of reports at the branch (`filial kit import`), or wait for the link: the branch server \
                    still has them.";
                Self::new(Code::NumberReused, text, remedy).with("seq", seq)
            }
            ReportError::CarriedProof { .. } | ReportError::CarriedNumbering => {
                let remedy =
                    "Have an admin hand the reports in, or wait for the link: the branch server still has them.";
                Self::new(Code::Forbidden, text, remedy)
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

impl From<AssignError> for ApiError {
    fn from(error: AssignError) -> Self {
        // Names stay as they are written, also at the beginning of a sentence.
        let text = format!("{error}.");
        match error {
            AssignError::UnknownBranch(branch) => Self::not_found(Missing::Branch, &branch),
            AssignError::NotAssigned { product, branch } => {
                Self::not_found(Missing::Assignment, &format_args!("of {product} to branch {branch}"))
            }
            AssignError::NotPublished { product, version } => {
                let remedy = "Check its state (`filial release list`) and wait until it is published.";
                Self::new(Code::NotPublished, text, remedy).with("product", product).with("version", version)
            }
            AssignError::FitsNothing { .. } => {
                let remedy = "Publish a release with an image or a package for these terminals.";
                Self::new(Code::NothingToInstall, text, remedy)
            }
            AssignError::Downgrade { .. } => {
                Self::new(Code::BadField, format!("downgrade: {text}"), "Set downgrade to assign it anyway.")
            }
            AssignError::Plan(error) => error.into(),
        }
    }
}

impl From<EnrolError> for ApiError {
    fn from(error: EnrolError) -> Self {
        let text = capital(format!("{error}."));
        match error {
            EnrolError::UnknownToken | EnrolError::UnknownKey => Self::new(Code::JoinRefused, text, ADD_AGAIN),
            EnrolError::TokenUsed { .. } => {
                let remedy = "If that was not this branch's server, the token was stolen: remove the branch at head office and \
                    add it again (`filial branch remove`, `filial branch add`).";
                Self::new(Code::JoinUsed, text, remedy)
            }
            EnrolError::TokenExpired { branch, .. } => {
                Self::new(Code::JoinExpired, text, ADD_AGAIN).with("branch", branch)
            }
            EnrolError::KeyOfOther(_) => {
                let remedy = "Each branch needs a separate server. If this server moved to another branch, delete its identity \
                    files first.";
                Self::new(Code::CertificateRequest, text, remedy)
            }
            EnrolError::Denied(branch) => is_denied(&branch),
            EnrolError::Removed { branch, at } => was_removed(&branch, at),
            EnrolError::Database(error) => error.into(),
        }
    }
}

impl From<ApproveError> for ApiError {
    fn from(error: ApproveError) -> Self {
        let text = capital(format!("{error}."));
        match error {
            ApproveError::NotWaiting(_) => {
                Self::new(Code::WrongState, text, "Only a release in `awaiting-signature` can be approved.")
            }
            ApproveError::OnlySignatures => {
                let remedy = "Sign the archive with `filial release sign`, and post the file with `filial release \
                    post-signatures`.";
                Self::new(Code::WrongState, text, remedy)
            }
            ApproveError::Frozen(finding) => Self::new(Code::Frozen, finding.cause, finding.remedy),
            ApproveError::Signing(error) => error.into(),
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

impl From<RoomError> for ApiError {
    fn from(error: RoomError) -> Self {
        let text = capital(format!("{error}."));
        match error {
            RoomError::TooMany => Self::new(Code::TooMany, text, "Finish or cancel an upload first."),
            RoomError::NoRoom { promised, .. } => {
                let or = if promised > 0 { ", or cancel an upload" } else { "" };
                let remedy =
                    format!("Free space on head office's store{or}; uploads.reserve_bytes sets how much is kept free.");
                Self::new(Code::DiskFull, text, remedy)
            }
            RoomError::Disk(error) => Self::internal(error),
            RoomError::Worker(error) => Self::internal(error),
            RoomError::Database(error) => error.into(),
        }
    }
}

impl From<ArrivalError> for ApiError {
    fn from(error: ArrivalError) -> Self {
        match error {
            ArrivalError::Unknown(id) => Self::not_found(Missing::Upload, &id),
            ArrivalError::Ended(reasons) => {
                let text = if reasons.is_empty() { "The upload has ended.".to_owned() } else { sentences(&reasons) };
                Self::new(Code::UploadGone, text, "Start the upload of the archive again.")
            }
            ArrivalError::File(error) => error.into(),
            ArrivalError::Move(error) => not_moved(error),
        }
    }
}

impl From<SeedError> for ApiError {
    fn from(error: SeedError) -> Self {
        match error {
            SeedError::Database(error) => error.into(),
            SeedError::Engine(_) | SeedError::Tracker(_) | SeedError::Torrent(..) => Self::internal(error),
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
