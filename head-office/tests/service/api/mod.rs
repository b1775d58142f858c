//! The routes of head office over real listeners and a real PostgreSQL: one file per resource, as in `src/http`.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests write plain files")]

mod artifacts;
mod attacks;
mod holders;
pub mod machines;
mod metadata;
pub mod operators;
mod service;
mod size;
mod sql;
pub mod table;
mod tls;

use service_kit::client::ClientError;
use wire::Code;

/// The code of a refusal, or what came instead.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Code {
    match result {
        Err(ClientError::Refused(problem)) => {
            assert!(!problem.detail.is_empty() && !problem.remedy.is_empty(), "{problem:?}");
            assert!(problem.request_id.is_some(), "{problem:?} carries no request id");
            problem.code
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}
