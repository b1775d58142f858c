//! The connection to head office.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use service_kit::client::{JsonClient, Timeouts};
use service_kit::config::read_secret_file;

use crate::args::Global;
use crate::credentials;
use crate::failure::Failure;

/// How long a short answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A client of the server that the options name, with the token that they name, or that of the log-in there.
pub(crate) fn connect(global: &Global) -> Result<JsonClient, Failure> {
    let token = match &global.token_file {
        Some(file) => Some(read_secret_file(file)?),
        None => credentials::token(global)?,
    };
    let server = anonymous(global)?;
    Ok(token.into_iter().fold(server, |server, token| server.with_token(token)))
}

/// A client of the server that the options name, without a token.
pub(crate) fn anonymous(global: &Global) -> Result<JsonClient, Failure> {
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        // Also bounds how long one chunk of an upload may take; chunks are sized to take far less.
        idle: Duration::from_secs(60),
        total: Duration::from_secs(60),
    };
    Ok(JsonClient::new(&global.server, None, timeouts)?)
}

/// A request that is answered without a body.
pub(crate) fn done(server: &JsonClient, method: Method, path: &str, body: Option<Value>) -> Result<(), Failure> {
    let request = server.request(method, path).timeout(PATIENCE);
    let request = body.iter().fold(request, |request, body| request.json(body));
    block_on(async { Ok(server.send(request, path).await.map(drop)?) })
}

/// Runs a command that talks to the server. One thread is enough for one conversation.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?.block_on(work)
}
