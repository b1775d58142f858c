//! Who asks.

use std::collections::BTreeSet;
use std::fmt;
use std::future::{Ready, ready};
use std::net::IpAddr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use fleet_types::{BranchName, TerminalName};
use uuid::Uuid;
use wire::Code;

use super::{ApiError, Role};

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
    /// By what it was known.
    pub via: Via,
    /// The only groups of routes that it may use; none: all of its role.
    pub scope: Option<BTreeSet<String>>,
    /// From where it asks, as the guard sees it.
    pub address: Option<IpAddr>,
    /// What it asks for, as the guard sees it: the method and the route's pattern.
    pub action: String,
}

/// By what a caller was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A bearer token that has no handle.
    Bearer,
    /// The API token with this handle.
    Token(Uuid),
    /// The session with this handle.
    Session(Uuid),
    /// A certificate.
    Certificate,
    /// A join token.
    JoinToken,
    /// The operator's password.
    Password,
    /// A command at the machine itself.
    Console,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("bearer"),
            Self::Token(id) => write!(f, "token {id}"),
            Self::Session(id) => write!(f, "session {id}"),
            Self::Certificate => f.write_str("certificate"),
            Self::JoinToken => f.write_str("join-token"),
            Self::Password => f.write_str("password"),
            Self::Console => f.write_str("console"),
        }
    }
}

impl Caller {
    /// A person or a person's program.
    pub fn operator(name: impl Into<String>, role: Role) -> Self {
        Self::new(name.into(), role, None, None)
    }

    /// A branch server.
    pub fn branch(branch: BranchName) -> Self {
        Self::new(branch.to_string(), Role::Branch, Some(branch), None)
    }

    /// A terminal.
    pub fn terminal(branch: BranchName, terminal: TerminalName) -> Self {
        let name = format!("{branch}/{terminal}");
        Self::new(name, Role::Terminal, Some(branch), Some(terminal))
    }

    fn new(name: String, role: Role, branch: Option<BranchName>, terminal: Option<TerminalName>) -> Self {
        Self { name, role, branch, terminal, via: Via::Bearer, scope: None, address: None, action: String::new() }
    }

    /// The same, known by something else.
    #[must_use]
    pub fn by(self, via: Via) -> Self {
        Self { via, ..self }
    }

    /// The same, asking for this from there.
    #[must_use]
    pub fn asking(self, action: impl Into<String>, address: Option<IpAddr>) -> Self {
        Self { action: action.into(), address, ..self }
    }

    /// Whether its scope has the group of routes.
    pub fn may_use(&self, group: &str) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.contains(group))
    }

    /// The branch, for handlers of machines' routes.
    ///
    /// # Errors
    /// The caller is not a machine.
    pub fn branch_name(&self) -> Result<&BranchName, ApiError> {
        self.branch.as_ref().ok_or_else(|| ApiError::forbidden(self.role, Role::Branch))
    }

    /// The terminal, for handlers of terminals' routes.
    ///
    /// # Errors
    /// The caller is not a terminal.
    pub fn terminal_name(&self) -> Result<&TerminalName, ApiError> {
        self.terminal.as_ref().ok_or_else(|| ApiError::forbidden(self.role, Role::Terminal))
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Only the guard puts a caller there, so a route outside the table answers no caller.
        let caller = request.extensions().get::<Caller>().cloned();
        ready(caller.ok_or_else(|| {
            ApiError::new(Code::Unauthenticated, "This request carries no identity.", "Send a bearer token.")
        }))
    }
}
