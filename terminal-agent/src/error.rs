//! Why a turn of the agent could not be completed.

use crate::memory::keeper::JournalError;
use crate::model::state::Forbidden;
use crate::trust::accepted::AcceptedError;

/// Why a turn could not be completed.
///
/// The state is as it was before; the next turn tries again.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The journal could not be used. Only what it recorded was done.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The trust store, or the root file that it starts from, could not be used.
    ///
    /// No new plan is accepted.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    Trust(trust::Refusal),
    /// The accepted plan could not be read or written.
    #[error(transparent)]
    Accepted(#[from] AcceptedError),
    /// A decision did not fit the transition table.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
}
