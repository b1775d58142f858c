//! How the errors of head office's parts become refusals.

use service_kit::server::ApiError;
use wire::Code;

use crate::releases::MoveError;
use crate::releases::uploads::UploadError;

/// What handlers answer.
pub type ApiResult<T> = Result<T, ApiError>;

/// A release that did not move, as a refusal.
pub fn not_moved(error: MoveError) -> ApiError {
    match error {
        MoveError::NotAllowed(error) => ApiError::new(
            Code::WrongState,
            format!("This is not possible now: {error}."),
            "Look at the release's state.",
        ),
        MoveError::Database(error) => error.into(),
    }
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        let text = format!("{error}.");
        match error {
            UploadError::Busy => {
                Self::new(Code::UploadBusy, text, "Wait a moment, ask for the offset, continue there.")
            }
            UploadError::WrongOffset { .. } => {
                Self::new(Code::OffsetMismatch, text, "Continue at the upload's offset.")
            }
            UploadError::TooLong { .. } => Self::new(Code::TooLarge, text, "Create an upload of the right length."),
            UploadError::DiskFull { .. } => {
                Self::new(Code::DiskFull, text, "Free space on head office's store, then continue the upload.")
                    .because(error)
            }
            UploadError::Gone => Self::new(Code::NotFound, text, "Begin the upload again."),
            UploadError::Io { .. } | UploadError::Worker(_) => Self::internal(error),
        }
    }
}
