//! The connection to head office.

use std::time::Duration;

use service_kit::client::{JsonClient, Timeouts};
use service_kit::config::read_secret_file;

use crate::args::Global;
use crate::failure::Failure;

/// A client of the server that the options name.
pub(crate) fn connect(global: &Global) -> Result<JsonClient, Failure> {
    let token = global.token_file.as_deref().map(read_secret_file).transpose()?;
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        // Also bounds how long one chunk of an upload may take; chunks are sized to take far less.
        idle: Duration::from_secs(60),
        total: Duration::from_secs(60),
    };
    Ok(JsonClient::new(&global.server, token, timeouts)?)
}

/// Runs a command that talks to the server. One thread is enough for one conversation.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?.block_on(work)
}
