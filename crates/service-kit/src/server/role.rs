//! Who may ask.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use fleet_types::{BranchName, TerminalName};
use serde::Deserialize;
use wire::Code;

use super::ApiError;

/// What a route asks of its caller, and what a caller holds.
///
/// Operators' roles include one another (`admin` ⊇ `release-manager` ⊇ `operator` ⊇ `viewer`); a machine's role
/// matches only itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Anybody, without a token.
    Public,
    /// Anybody: the handler itself checks the join token in the body.
    JoinToken,
    /// Looks at everything, changes nothing.
    Viewer,
    /// Runs rollouts.
    Operator,
    /// Uploads and approves releases.
    ReleaseManager,
    /// Everything an operator listener offers.
    Admin,
    /// A branch server.
    Branch,
    /// A terminal.
    Terminal,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 8] = [
        Role::Public,
        Role::JoinToken,
        Role::Viewer,
        Role::Operator,
        Role::ReleaseManager,
        Role::Admin,
        Role::Branch,
        Role::Terminal,
    ];

    /// Its name, as in the tokens file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::JoinToken => "join-token",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::ReleaseManager => "release-manager",
            Self::Admin => "admin",
            Self::Branch => "branch",
            Self::Terminal => "terminal",
        }
    }

    /// Whether the guard asks for no bearer token.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Public | Self::JoinToken)
    }

    /// Whether people hold it.
    pub const fn is_operator(self) -> bool {
        self.rank().is_some()
    }

    const fn rank(self) -> Option<u8> {
        match self {
            Self::Viewer => Some(1),
            Self::Operator => Some(2),
            Self::ReleaseManager => Some(3),
            Self::Admin => Some(4),
            Self::Public | Self::JoinToken | Self::Branch | Self::Terminal => None,
        }
    }

    /// Whether a caller with this role may use a route that asks for `needed`.
    pub const fn reaches(self, needed: Role) -> bool {
        if needed.is_open() {
            return true;
        }
        match (self.rank(), needed.rank()) {
            (Some(held), Some(needed)) => held >= needed,
            (None, None) => matches!((self, needed), (Self::Branch, Self::Branch) | (Self::Terminal, Self::Terminal)),
            _ => false,
        }
    }
}

/// Who asks, as the guard established it. A handler takes it as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// A name for logs and audit.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The branch that a branch server or terminal belongs to.
    pub branch: Option<BranchName>,
    /// The terminal.
    pub terminal: Option<TerminalName>,
}

impl Caller {
    /// A person or a person's program.
    pub fn operator(name: impl Into<String>, role: Role) -> Self {
        Self { name: name.into(), role, branch: None, terminal: None }
    }

    /// A branch server.
    pub fn branch(branch: BranchName) -> Self {
        Self { name: branch.to_string(), role: Role::Branch, branch: Some(branch), terminal: None }
    }

    /// A terminal.
    pub fn terminal(branch: BranchName, terminal: TerminalName) -> Self {
        let name = format!("{branch}/{terminal}");
        Self { name, role: Role::Terminal, branch: Some(branch), terminal: Some(terminal) }
    }

    /// The branch, for handlers of machines' routes.
    ///
    /// # Errors
    /// The caller is no machine.
    pub fn branch_name(&self) -> Result<&BranchName, ApiError> {
        self.branch.as_ref().ok_or_else(|| ApiError::forbidden(self.role, Role::Branch))
    }

    /// The terminal, for handlers of terminals' routes.
    ///
    /// # Errors
    /// The caller is no terminal.
    pub fn terminal_name(&self) -> Result<&TerminalName, ApiError> {
        self.terminal.as_ref().ok_or_else(|| ApiError::forbidden(self.role, Role::Terminal))
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Only the guard puts a caller there, so a route outside the table answers nobody.
        let caller = request.extensions().get::<Caller>().cloned();
        ready(caller.ok_or_else(|| {
            ApiError::new(Code::Unauthenticated, "This request carries no identity.", "Send a bearer token.")
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_include_one_another_and_machines_only_themselves() {
        use Role::{Admin, Branch, JoinToken, Operator, Public, ReleaseManager, Terminal, Viewer};
        let reach = |held: Role| Role::ALL.into_iter().filter(|n| held.reaches(*n)).collect::<Vec<_>>();
        assert_eq!(reach(Viewer), [Public, JoinToken, Viewer]);
        assert_eq!(reach(Operator), [Public, JoinToken, Viewer, Operator]);
        assert_eq!(reach(ReleaseManager), [Public, JoinToken, Viewer, Operator, ReleaseManager]);
        assert_eq!(reach(Admin), [Public, JoinToken, Viewer, Operator, ReleaseManager, Admin]);
        assert_eq!(reach(Branch), [Public, JoinToken, Branch]);
        assert_eq!(reach(Terminal), [Public, JoinToken, Terminal]);
        assert_eq!(reach(Public), [Public, JoinToken]);
    }
}
