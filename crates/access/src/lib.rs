//! Who may do what at a server of Filial, and what they did: one implementation for head office and branch servers.
//!
//! - [`passwords`], [`guesses`] (wrong passwords are throttled), [`login`], [`rules`] (pure: what operators may give and take)
//! - [`bootstrap`] and [`recover`], from the [`console`]; [`import`] of the tokens file that branch servers had
//! - [`audit`] and its [`anchor`]
//! - [`http`] the routes of operators, sessions, tokens and the audit; [`db`] their tables
//!
//! It must never keep a password or a token, let a token do more than its operator, or record a change that did not happen.

pub mod anchor;
pub mod audit;
pub mod bootstrap;
pub mod console;
pub mod db;
pub mod guesses;
pub mod http;
pub mod import;
pub mod login;
pub mod passwords;
pub mod recover;
pub mod rules;
pub mod settings;
pub mod token_pace;

use std::path::PathBuf;
use std::sync::Arc;

use service_kit::Clock;
use service_kit::database::Pool;
use service_kit::server::{ApiError, Caller, Role, Via};

use audit::Audit;
use guesses::Guesses;
use passwords::Passwords;
use settings::AccessSettings;
use token_pace::TokenPace;

/// What handlers answer.
type ApiResult<T> = Result<T, ApiError>;

/// Which program's operators these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// The program, such as `head-office`: what the audit names for its commands.
    pub program: &'static str,
    /// The cookie of a session.
    ///
    /// Cookies do not tell ports apart, so each program on a machine has another name.
    pub cookie: &'static str,
}

impl Server {
    /// The caller of a command of this program, as the audit names it.
    fn caller(self, name: &str, command: &str) -> Caller {
        Caller::operator(name, Role::Admin).by(Via::Console).asking(format!("{} {command}", self.program), None)
    }
}

/// Head office.
pub const HEAD_OFFICE: Server = Server { program: "head-office", cookie: "__Host-filial-head-office" };

/// A branch server.
pub const BRANCH_SERVER: Server = Server { program: "branch-server", cookie: "__Host-filial-branch-server" };

/// Everything that the routes of this crate use.
pub struct Access {
    /// Which program this is.
    pub server: Server,
    /// How long operators stay in.
    pub settings: AccessSettings,
    /// The database.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The folder with the audit's anchor.
    pub state_folder: PathBuf,
    /// What compares passwords.
    pub passwords: Passwords,
    /// Wrong ones, counted.
    pub guesses: Guesses,
    /// Tokens that operators make, counted.
    pub token_pace: TokenPace,
    /// The audit.
    pub audit: Arc<Audit>,
    /// The groups of routes that a token's scope may name.
    pub groups: Vec<String>,
}
