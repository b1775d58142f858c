//! Reasons as they are shown and reported.

use trust::Refusal;
use wire::v1::reports::Reason;

/// A refusal as it is shown and reported: the library's code, what is wrong, and what to do.
pub fn reason(refusal: &Refusal) -> Reason {
    Reason::new(refusal.code(), format!("{} {}", refusal.sentence(), refusal.remedy()))
}
