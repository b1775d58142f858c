//! The routes of head office over real listeners and a real PostgreSQL: one file per resource, as in `src/routes`.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests write plain files")]

#[path = "../support/mod.rs"]
mod support;

mod artifacts;
mod assignments;
mod attacks;
mod audit;
mod branches;
mod enrol;
mod events;
mod evidence;
mod judging;
mod kit;
mod metadata;
mod publishing;
mod releases;
mod reports;
mod retention;
mod service;
mod session;
mod signing;
mod size;
mod sql;
mod status;
mod sync;
mod table;
mod terminals;
mod tls;
mod tokens;
mod uploads;
mod uploads_end;
mod withdrawing;

use service_kit::client::ClientError;
use wire::Code;

/// The code of a refusal, or what came instead.
fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Code {
    match result {
        Err(ClientError::Refused(problem)) => {
            assert!(!problem.detail.is_empty() && !problem.remedy.is_empty(), "{problem:?}");
            assert!(problem.request_id.is_some(), "{problem:?} carries no request id");
            problem.code
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}
