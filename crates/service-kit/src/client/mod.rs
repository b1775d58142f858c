//! An HTTP client for JSON services: a base address, a bearer token, bounded answers, refusals as [`Problem`].

mod distrust;
mod error;
mod sse;

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::{Code, Problem};

use crate::Secret;

pub use distrust::{Distrust, OtherServer};
pub use error::ClientError;
pub use sse::{EventStream, SseEvent, read_events};

/// Largest JSON answer that is read, in bytes. A plan for 1,000 terminals is about 1 MB.
pub const MAX_JSON: usize = 32 * 1024 * 1024;

/// Largest refusal that is read, in bytes.
const MAX_PROBLEM: usize = 64 * 1024;

/// The bytes of an answer as they arrive. The reader bounds length and time.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>;

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection to be made.
    pub connect: Duration,
    /// Without any byte arriving.
    pub idle: Duration,
    /// For a request with a JSON answer, from begin to end.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), idle: Duration::from_secs(30), total: Duration::from_secs(60) }
    }
}

/// A client of one service. Clones share connections.
#[derive(Debug, Clone)]
pub struct JsonClient {
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
    timeouts: Timeouts,
}

impl JsonClient {
    /// A client of the service at `base_url`, such as `http://head-office:7002`.
    ///
    /// # Errors
    /// The address is not valid, or the client cannot be set up.
    pub fn new(base_url: &str, token: Option<Secret>, timeouts: Timeouts) -> Result<Self, ClientError> {
        // The library wants a TLS configuration even if TLS is not used.
        Self::build(base_url, "http", distrustful().map_err(ClientError::Tls)?, token, timeouts)
    }

    /// A client of the service at `base_url`, such as `https://head-office:7002`, over TLS as `tls` says: it decides whom to
    /// believe, and what this end presents.
    ///
    /// # Errors
    /// The address is not valid, or the client cannot be set up.
    pub fn secure(base_url: &str, tls: ClientConfig, timeouts: Timeouts) -> Result<Self, ClientError> {
        Self::build(base_url, "https", tls, None, timeouts)
    }

    fn build(
        base_url: &str,
        scheme: &'static str,
        tls: ClientConfig,
        token: Option<Secret>,
        timeouts: Timeouts,
    ) -> Result<Self, ClientError> {
        let base = base_url.trim_end_matches('/').to_owned();
        if reqwest::Url::parse(&base).map_or(true, |url| url.scheme() != scheme) {
            return Err(ClientError::BadAddress { given: base_url.to_owned(), scheme });
        }
        let http = reqwest::Client::builder()
            .use_preconfigured_tls(tls)
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.idle)
            // A branch in a shop must reach its own services whatever proxy the shell has.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { http, base, token, timeouts })
    }

    /// The same service with another token.
    #[must_use]
    pub fn with_token(&self, token: Secret) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// The base address.
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// A request to `path` (beginning with `/`), authenticated, for callers with needs of their own.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Sends `request`; anything but success becomes an error.
    ///
    /// # Errors
    /// The service did not answer, or refused.
    pub async fn send(&self, request: RequestBuilder, path: &str) -> Result<Response, ClientError> {
        let url = self.url(path);
        let response = request.send().await.map_err(|source| ClientError::of_transport(url.clone(), source))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response, url).await) }
    }

    /// GET a JSON answer.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path).timeout(self.timeouts.total);
        let response = self.send(request, path).await?;
        self.json(response, path).await
    }

    /// POST a JSON body for a JSON answer.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let request = self.request(Method::POST, path).timeout(self.timeouts.total).json(body);
        let response = self.send(request, path).await?;
        self.json(response, path).await
    }

    /// GET every page of a list: the first under `path`, the others where each page's `Link` header leads.
    ///
    /// # Errors
    /// As [`ClientError`]; also if a page leads to no path of this service.
    pub async fn get_all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ClientError> {
        let (mut all, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let request = self.request(Method::GET, &path).timeout(self.timeouts.total);
            let response = self.send(request, &path).await?;
            next = next_page(&response);
            let mut page: Vec<T> = self.json(response, &path).await?;
            // An empty page with a next one would lead round in circles.
            next = next.filter(|_| !page.is_empty());
            all.append(&mut page);
        }
        Ok(all)
    }

    /// DELETE, for a JSON answer.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::DELETE, path).timeout(self.timeouts.total);
        let response = self.send(request, path).await?;
        self.json(response, path).await
    }

    /// GET bytes, at most `max`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn get_bytes(&self, path: &str, max: usize) -> Result<Bytes, ClientError> {
        let response = self.send(self.request(Method::GET, path), path).await?;
        bounded(response, &self.url(path), max).await
    }

    /// GET bytes as they arrive, for callers who bound length and time themselves; `None` if the service says
    /// `not-found` or `route-missing`, which another program at the address would not say.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn get_stream(&self, path: &str) -> Result<Option<ByteStream>, ClientError> {
        let response = match self.send(self.request(Method::GET, path), path).await {
            Err(error) if matches!(error.code(), Some(Code::NotFound | Code::RouteMissing)) => return Ok(None),
            other => other?,
        };
        let url = self.url(path);
        let chunks = response.bytes_stream();
        Ok(Some(Box::pin(
            chunks.map(move |chunk| chunk.map_err(|source| ClientError::Unreachable { url: url.clone(), source })),
        )))
    }

    /// Opens a stream of server-sent events. `last_event_id` asks for a replay of what came after it.
    /// The stream ends with [`ClientError::Silent`] when nothing, not even a comment, came for `idle`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn events(
        &self,
        path: &str,
        last_event_id: Option<&str>,
        idle: Duration,
    ) -> Result<EventStream, ClientError> {
        let mut request = self.request(Method::GET, path).header("Accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = self.send(request, path).await?;
        Ok(EventStream::new(response, self.url(path), idle))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn json<T: DeserializeOwned>(&self, response: Response, path: &str) -> Result<T, ClientError> {
        let url = self.url(path);
        let body = bounded(response, &url, MAX_JSON).await?;
        serde_json::from_slice(&body).map_err(|source| ClientError::BadAnswer { url, source })
    }
}

/// TLS that trusts no server.
fn distrustful() -> Result<ClientConfig, rustls::Error> {
    let provider = std::sync::Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

/// Where a page's `Link` header says the next one is (RFC 8288); only paths of the same service are followed.
fn next_page(response: &Response) -> Option<String> {
    let header = response.headers().get(reqwest::header::LINK)?.to_str().ok()?;
    let (target, rest) = header.strip_prefix('<')?.split_once('>')?;
    (rest.contains("rel=\"next\"") && target.starts_with("/v1/")).then(|| target.to_owned())
}

async fn refusal(response: Response, url: String) -> ClientError {
    let status: StatusCode = response.status();
    match bounded(response, &url, MAX_PROBLEM).await {
        Ok(body) => match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(_) => ClientError::Status { url, status: status.as_u16() },
        },
        Err(_) => ClientError::Status { url, status: status.as_u16() },
    }
}

async fn bounded(response: Response, url: &str, max: usize) -> Result<Bytes, ClientError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|source| ClientError::Unreachable { url: url.to_owned(), source })?;
        if body.len() + chunk.len() > max {
            return Err(ClientError::TooLarge { url: url.to_owned(), max });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}
