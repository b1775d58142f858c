//! Calls to the daemon through the `transmission-rpc` crate, made safe to share and to understand.
//!
//! The crate repeats a call itself when the daemon answers 409 with a new session id, but one client serves one call
//! at a time, it does not look at any other HTTP status, and it writes user and password to its debug log. So:
//! a stack of clients, one per call in flight, each keeping its session id; the credentials sit in the HTTP client's
//! headers, marked secret; and an answer that is not JSON is explained by asking once more with a plain request.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use transmission_rpc::TransClient;
use transmission_rpc::types::{RpcResponse, RpcResponseArgument};

use super::{TransmissionSettings, remedies};
use crate::EngineError;

/// Idle clients that are kept: more calls at once are possible, they ask for a session id of their own.
const MAX_IDLE: usize = 16;
/// The part of an HTML error page that is looked at.
const MAX_REASON_LEN: usize = 2048;

pub(super) struct Rpc {
    url: Url,
    user: String,
    timeout: Duration,
    http: Client,
    idle: Mutex<Vec<TransClient>>,
}

type RpcResult<T> = transmission_rpc::types::Result<RpcResponse<T>>;

impl Rpc {
    pub(super) fn new(settings: &TransmissionSettings) -> Result<Self, EngineError> {
        let bad = |source: Box<dyn Error + Send + Sync>| EngineError::BadSettings {
            url: settings.url.clone(),
            remedy: remedies::ADDRESS,
            source,
        };
        let url = Url::parse(&settings.url).map_err(|error| bad(error.into()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !url.username().is_empty() {
            return Err(bad("an http address without user and password is needed".into()));
        }
        let pair = format!("{}:{}", settings.user, settings.password);
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        let mut secret = HeaderValue::from_str(&basic).map_err(|error| bad(error.into()))?;
        secret.set_sensitive(true);
        let http = Client::builder()
            .no_proxy()
            .connect_timeout(settings.timeout)
            .timeout(settings.timeout)
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, secret)]))
            // The daemon closes idle connections; a new one on loopback costs less than a call that hits that moment.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| bad(error.into()))?;
        Ok(Self { url, user: settings.user.clone(), timeout: settings.timeout, http, idle: Mutex::default() })
    }

    pub(super) fn address(&self) -> String {
        self.url.to_string()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A client for one call. Give it back with [`Self::settle`]; one may also be dropped with its call.
    pub(super) fn client(&self) -> TransClient {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| TransClient::new_with_client(self.url.clone(), self.http.clone()))
    }

    /// What a call brought, or why not.
    pub(super) async fn settle<T: RpcResponseArgument>(
        &self,
        operation: &'static str,
        client: TransClient,
        result: RpcResult<T>,
    ) -> Result<T, EngineError> {
        match result {
            Ok(response) => {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < MAX_IDLE {
                    idle.push(client);
                }
                drop(idle);
                if response.is_ok() { Ok(response.arguments) } else { Err(self.refused(operation, response.result)) }
            }
            Err(error) => Err(self.explain(operation, error).await),
        }
    }

    pub(super) fn refused(&self, operation: &'static str, reason: String) -> EngineError {
        EngineError::Refused { url: self.address(), operation, reason }
    }

    pub(super) fn protocol(
        &self,
        operation: &'static str,
        what: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> EngineError {
        EngineError::Protocol { url: self.address(), operation, remedy: remedies::VERSION, source: what.into() }
    }

    async fn explain(&self, operation: &'static str, error: Box<dyn Error + Send + Sync>) -> EngineError {
        let undecodable = match error.downcast_ref::<reqwest::Error>() {
            Some(error) if error.is_timeout() => {
                let (url, timeout) = (self.address(), self.timeout);
                return EngineError::Timeout { url, operation, timeout, remedy: remedies::SLOW };
            }
            Some(error) => error.is_decode(),
            None => true,
        };
        if !undecodable {
            let url = self.address();
            return EngineError::Unreachable { url, operation, remedy: remedies::UNREACHABLE, source: error };
        }
        self.probe().await.unwrap_or_else(|| self.protocol(operation, error))
    }

    /// Asks with a plain request what the HTTP status is, since the crate does not look: 409 (no session id) is the
    /// answer of a daemon that would have let us in.
    async fn probe(&self) -> Option<EngineError> {
        let mut response = self.http.post(self.url.clone()).body("{}").send().await.ok()?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            let (url, user) = (self.address(), self.user.clone());
            return Some(EngineError::Unauthorized { url, user, remedy: remedies::CREDENTIALS });
        }
        if status != StatusCode::FORBIDDEN && status != StatusCode::MISDIRECTED_REQUEST {
            return None;
        }
        let mut page = Vec::new();
        while page.len() < MAX_REASON_LEN {
            match response.chunk().await {
                Ok(Some(chunk)) => page.extend_from_slice(&chunk),
                _ => break,
            }
        }
        page.truncate(MAX_REASON_LEN);
        let reason = format!("HTTP {}: {}", status.as_u16(), text_of(&String::from_utf8_lossy(&page)));
        Some(EngineError::Forbidden { url: self.address(), reason, remedy: remedies::FORBIDDEN })
    }
}

/// The words of an HTML page, shortened.
fn text_of(page: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for c in page.chars() {
        match c {
            '<' => in_tag = true,
            '>' => {
                in_tag = false;
                text.push(' ');
            }
            c if !in_tag && !c.is_control() => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_html_becomes_its_words() {
        assert_eq!(
            text_of("<h1>403: Forbidden</h1><p>Too many\n<b>attempts</b>.</p>"),
            "403: Forbidden Too many attempts ."
        );
    }

    #[test]
    fn an_address_that_cannot_work_is_refused_and_the_password_stays_hidden() {
        for url in ["", "127.0.0.1:9091", "ftp://127.0.0.1/", "http://u:p@127.0.0.1:9091/"] {
            let settings = TransmissionSettings {
                url: url.into(),
                user: "u".into(),
                password: "hush-hush".into(),
                timeout: Duration::from_secs(1),
            };
            assert!(matches!(Rpc::new(&settings), Err(EngineError::BadSettings { .. })), "{url}");
            assert!(!format!("{settings:?}").contains("hush-hush"));
        }
    }
}
