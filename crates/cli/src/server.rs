//! The connection to head office.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use reqwest::{Method, Url};
use serde_json::Value;
use service_kit::SystemClock;
use service_kit::client::{JsonClient, Timeouts};
use service_kit::config::read_secret_file;
use trust::certificates::{Anchor, FleetTime, Identity, Suffix, client_config, none_denied, read_anchor};

use crate::args::{Global, HEAD_OFFICE_HERE};
use crate::credentials;
use crate::failure::Failure;

/// Timeout of a short answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Connects to the server that the options name, with their token or the stored one.
pub(crate) fn connect(global: &Global) -> Result<JsonClient, Failure> {
    let token = match &global.token_file {
        Some(file) => Some(read_secret_file(file)?),
        None => credentials::token(global)?,
    };
    let server = anonymous(global)?;
    Ok(token.into_iter().fold(server, |server, token| server.with_token(token)))
}

/// Connects to the server that the options name, without a token.
///
/// The server must prove by the authority of the options, or the stored one, that it is head office or the server of the
/// branch in the options. Plain HTTP is allowed to this machine only.
pub(crate) fn anonymous(global: &Global) -> Result<JsonClient, Failure> {
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        // Also bounds how long one chunk of an upload may take; chunks are sized to take far less.
        idle: Duration::from_secs(60),
        total: Duration::from_secs(60),
    };
    if let (Some(branch), HEAD_OFFICE_HERE) = (&global.at, global.server.as_str()) {
        let sentence = format!("--at {branch} needs the address of that branch's server");
        return Err(Failure::said(sentence, "Give it with --server or FILIAL_SERVER, such as https://10.1.0.1:7003."));
    }
    match Url::parse(&global.server) {
        Ok(url) if url.scheme() == "https" => {}
        Ok(url) if url.scheme() == "http" && is_here(&url) => {
            return Ok(JsonClient::new(&global.server, None, timeouts)?);
        }
        Ok(url) if url.scheme() == "http" => {
            let sentence = format!("{} is another machine, so plain HTTP is not allowed", global.server);
            return Err(Failure::said(sentence, "Use https:// instead."));
        }
        _ => {
            let example = match global.at {
                None => "head office's, such as https://head-office.example:7001",
                Some(_) => "the branch server's, such as https://10.1.0.1:7003",
            };
            let sentence = format!("{:?} is not the address of a server", global.server);
            return Err(Failure::said(sentence, format!("Give {example}, with --server or FILIAL_SERVER.")));
        }
    }
    let anchor = anchor(global)?.ok_or_else(|| {
        let sentence = format!("No trusted authority is configured for {}", global.server);
        let remedy = "Run `head-office authority` on head office's machine, then \
            `filial login NAME --authority FINGERPRINT` here (or set FILIAL_AUTHORITY).";
        Failure::said(sentence, remedy)
    })?;
    let peer = global.at.clone().map_or(Identity::HeadOffice, Identity::Branch);
    // No floor for the clock: an operator's machine does not remember the fleet's time.
    let time = FleetTime::new(Arc::new(SystemClock), DateTime::UNIX_EPOCH);
    let tls = client_config(None, anchor, Suffix::default(), peer, none_denied(), time)?;
    Ok(JsonClient::secure(&global.server, tls, timeouts)?)
}

/// The authority that the server must prove: from the options, or stored at login.
pub(crate) fn anchor(global: &Global) -> Result<Option<Anchor>, Failure> {
    match &global.authority {
        Some(text) => Ok(Some(read_anchor(text)?)),
        None => Ok(credentials::authority(global)?.map(Anchor::Pinned)),
    }
}

/// Whether the address is on this machine, so that no network can be listened to.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Sends a request that is answered without a body.
pub(crate) fn done(server: &JsonClient, method: Method, path: &str, body: Option<Value>) -> Result<(), Failure> {
    let request = server.request(method, path).timeout(PATIENCE);
    let request = body.iter().fold(request, |request, body| request.json(body));
    block_on(async { Ok(server.send(request, path).await.map(drop)?) })
}

/// Runs a command that talks to the server, on one thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_here() {
        for (url, here) in [
            ("http://127.0.0.1:7003", true),
            ("http://localhost:7003", true),
            ("http://[::1]:7003", true),
            ("http://[::ffff:127.0.0.1]:7003", true),
            ("http://127.0.0.1.example:7003", false),
            ("http://10.0.0.1:7003", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_here(&Url::parse(url).unwrap()), here, "{url}");
        }
    }
}
