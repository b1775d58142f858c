//! Refusals of terminals by their identity.

use fleet_types::{BranchName, Digest, TerminalName};
use service_kit::server::ApiError;
use wire::Code;

/// Returns the refusal of a terminal that is registered with another key.
pub fn other_key(terminal: &TerminalName, known: &Digest, given: &Digest) -> ApiError {
    let detail = format!("Terminal {terminal} is registered with key {}, not with {}.", known.short(), given.short());
    let remedy = format!(
        "If its disk was erased or replaced, an admin allows the new key: `filial terminal allow {terminal} --at BRANCH --key \
         {given}`. If not, the join token may have leaked: replace it and investigate."
    );
    ApiError::new(Code::OtherKey, detail, remedy)
}

/// Returns the refusal of a terminal whose identity is denied.
pub fn is_denied(terminal: &TerminalName) -> ApiError {
    let detail = format!("The identity of terminal {terminal} is denied.");
    let remedy = format!(
        "An admin can allow it again: `filial terminal allow {terminal} --at BRANCH`. If the terminal's key was stolen, \
         remove its identity files first, so that it creates a new key, and allow that key."
    );
    ApiError::new(Code::IdentityDenied, detail, remedy)
}

/// Returns the refusal of a terminal that this server does not know and head office lists as denied.
pub fn is_listed(branch: &BranchName, terminal: &TerminalName) -> ApiError {
    let detail = format!("Head office remembers that the identity of terminal {terminal} was denied.");
    let remedy =
        format!("An admin can lift that at head office: `filial terminal remove {branch}/{terminal} --allow-again`.");
    ApiError::new(Code::IdentityDenied, detail, remedy)
}

/// Returns the refusal of a terminal whose key was replaced by another before this server knew it.
pub fn is_replaced(branch: &BranchName, terminal: &TerminalName) -> ApiError {
    let detail = format!("Head office remembers that the key of terminal {terminal} was replaced by another.");
    let remedy = format!(
        "Remove the terminal's identity files, so that it makes a new key. An admin can let the old one in again at head office: \
         `filial terminal remove {branch}/{terminal} --allow-again`."
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_name_the_command_and_not_the_api() {
        let (terminal, key) = ("till-1".parse().unwrap(), Digest::new([7; 32]));
        for (error, command) in [
            (other_key(&terminal, &key, &key), format!("`filial terminal allow till-1 --at BRANCH --key {key}`")),
            (
                is_listed(&"north".parse().unwrap(), &terminal),
                "`filial terminal remove north/till-1 --allow-again`".to_owned(),
            ),
            (is_denied(&terminal), "`filial terminal allow till-1 --at BRANCH`".to_owned()),
        ] {
            let told = error.to_string() + &error.problem().remedy;
            assert!(told.contains(&command) && !told.contains("POST"), "{told}");
        }
    }
}
