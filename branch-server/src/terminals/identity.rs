//! Refusals of terminals by their identity.

use fleet_types::{BranchName, Digest, TerminalName};
use service_kit::server::ApiError;
use wire::Code;

/// Returns the refusal of a terminal that is registered with another key.
pub fn other_key(terminal: &TerminalName, known: &Digest, given: &Digest) -> ApiError {
    let detail = format!("Terminal {terminal} is registered with key {}, not with {}.", known.short(), given.short());
    let remedy = format!(
        "If its disk was erased or replaced, let an admin allow the new key at the branch server: POST \
         /v1/terminals/{terminal}/allow with {{\"key\":\"{given}\"}}. If not, the join token may have leaked: replace it \
         and investigate."
    );
    ApiError::new(Code::OtherKey, detail, remedy)
}

/// Returns the refusal of a terminal whose identity is denied.
pub fn is_denied(terminal: &TerminalName) -> ApiError {
    let detail = format!("The identity of terminal {terminal} is denied.");
    let remedy = format!(
        "Ask an admin of the branch server to allow it (POST /v1/terminals/{terminal}/allow). If the terminal's key was \
         stolen, remove its identity files first, so that it makes a new key, and have that key allowed."
    );
    ApiError::new(Code::IdentityDenied, detail, remedy)
}

/// Returns the refusal of a terminal of another branch.
pub fn of_another_branch(branch: &BranchName, here: &BranchName) -> ApiError {
    let detail = format!("This certificate is for branch {branch}; this is branch {here}.");
    let remedy = "Connect to the terminal's own branch. If the terminal moved here, remove its identity file and enrol it with \
        this branch's join token.";
    ApiError::new(Code::WrongBranch, detail, remedy)
}
