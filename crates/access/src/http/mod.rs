//! The routes of operators, sessions, tokens and the audit: a handler parses, calls and answers.
//!
//! They need [`crate::Access`] as `web::Data`, and [`doorkeeper::Doorkeeper`] as the listener's authenticator.

pub mod accounts;
pub mod audit;
pub mod doorkeeper;
mod refusals;
pub mod session;
pub mod tokens;

use service_kit::server::{Role, Route};

/// Lists the routes, each with the role that it requires.
pub fn routes() -> Vec<Route> {
    service_kit::routes![
        // Public: a caller who logs in is not authenticated yet. The handler limits what it accepts.
        Role::Public => session::log_in,
        Role::Viewer => session::who,
        Role::Viewer => session::log_out,
        Role::Viewer => session::list,
        Role::Viewer => session::end,
        Role::Viewer => session::change_password,
        Role::Viewer => tokens::make,
        Role::Viewer => tokens::list,
        Role::Viewer => tokens::revoke,
        Role::Admin => accounts::list,
        Role::Admin => accounts::add,
        Role::Admin => accounts::change,
        Role::Admin => accounts::set_password,
        Role::Admin => audit::list,
        Role::Admin => audit::head,
    ]
}
