//! Head office over HTTPS. Sizes are limited while data arrives; the caller checks digests.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest};
use service_kit::Secret;
use service_kit::client::{ByteStream, ClientError, JsonClient, Timeouts};
use service_kit::config::read_secret_file;
use trust::certificates::{
    Anchor, Chain, FleetTime, Identity as Who, JoinToken, Suffix, TlsKey, client_config, none_denied, request_to_pem,
};
use wire::Code;
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch};
use wire::v1::sync::{BranchEnrolRequest, BranchEnrolResponse, Sync as Offer};

use super::head_office::{Calls, HeadOffice, MAX_MANIFEST, UpstreamError};
use super::identity::{Age, Files, Identity, RENEWED_AFTER};
use crate::config::HeadOfficeSettings;

/// Head office over HTTPS, known by the fleet's authority.
pub struct HttpHeadOffice {
    url: String,
    timeouts: Timeouts,
    files: Files,
    time: FleetTime,
    state: Mutex<State>,
    join_token_file: PathBuf,
    /// How long an event stream may be silent.
    silence: Duration,
}

/// This server's identity, and the client that uses it.
#[derive(Default)]
struct State {
    identity: Option<Arc<Identity>>,
    line: Option<Line>,
}

/// A client with this server's certificate.
struct Line {
    client: JsonClient,
    made: DateTime<Utc>,
}

impl HttpHeadOffice {
    /// Head office by its settings, with the identity that is kept in `folder`, if there is one. Blocking.
    ///
    /// # Errors
    /// The address is not valid, or the identity exists and cannot be read.
    pub fn new(settings: &HeadOfficeSettings, folder: &Path, time: FleetTime) -> Result<Self, UpstreamError> {
        let defaults = Timeouts::default();
        let files = Files::new(folder);
        let state = Mutex::new(State { identity: files.read()?.map(Arc::new), line: None });
        Ok(Self {
            url: settings.url.clone(),
            timeouts: Timeouts { total: settings.request, idle: defaults.idle.min(settings.request), ..defaults },
            files,
            time,
            state,
            join_token_file: settings.join_token_file.clone(),
            silence: settings.silence,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dial(&self, own: Option<(Chain, &TlsKey)>, anchor: Anchor) -> Result<JsonClient, UpstreamError> {
        let (suffix, time) = (Suffix::default(), self.time.clone());
        let tls = client_config(own, anchor, suffix, Who::HeadOffice, none_denied(), time)?;
        Ok(JsonClient::secure(&self.url, tls, self.timeouts)?)
    }

    /// Returns a client that presents this server's certificate, replaced at two thirds of its life.
    fn authorised(&self) -> Result<JsonClient, UpstreamError> {
        let mut state = self.state();
        let identity = state.identity.clone().ok_or(UpstreamError::NotEnrolled)?;
        let times = self.time.times();
        let now = times.latest;
        if let Some(line) = state.line.as_ref().filter(|l| l.made <= now && now < l.made + RENEWED_AFTER) {
            return Ok(line.client.clone());
        }
        let (chain, key) = identity.issue(times)?;
        let client = self.dial(Some((chain, &key)), Anchor::Known(identity.authority.clone()))?;
        state.line = Some(Line { client: client.clone(), made: now });
        Ok(client)
    }

    /// Has this server's key certified by the head office of `anchor`, and stores the answer before it is used.
    async fn certify(&self, join_token: Option<&Secret>, anchor: Anchor) -> Result<BranchName, UpstreamError> {
        // Small files, and this happens once in years: not worth a thread.
        let certificate_request = request_to_pem(&self.files.key()?.request()?);
        let join_token = join_token.map(|token| token.expose().to_owned());
        let pinned = anchor.fingerprint();
        let client = self.dial(None, anchor)?;
        let request = BranchEnrolRequest { join_token, certificate_request };
        let answer: BranchEnrolResponse = client.post(paths::ENROL, &request).await?;
        let identity = self.files.keep(answer, &pinned, self.time.times())?;
        let branch = identity.branch.clone();
        *self.state() = State { identity: Some(Arc::new(identity)), line: None };
        Ok(branch)
    }

    /// Adds the remedy for a refused identity.
    fn explained(&self, error: ClientError) -> UpstreamError {
        match error.code() {
            Some(Code::Unauthenticated) => {
                UpstreamError::IdentityRefused { join_token_file: self.join_token_file.clone() }
            }
            _ => UpstreamError::Client(error),
        }
    }

    async fn bytes(&self, path: &str, max: usize) -> Result<Bytes, UpstreamError> {
        self.authorised()?.get_bytes(path, max).await.map_err(|e| self.explained(e))
    }
}

#[async_trait]
impl HeadOffice for HttpHeadOffice {
    async fn enrol(&self) -> Result<BranchName, UpstreamError> {
        let text = read_secret_file(&self.join_token_file).map_err(UpstreamError::JoinToken)?;
        let token = JoinToken::parse(&text)?;
        self.certify(Some(&token.secret), Anchor::Pinned(token.authority)).await
    }

    fn age(&self) -> Option<Age> {
        self.state().identity.as_ref().map(|identity| identity.age(self.time.times()))
    }

    async fn renew(&self) -> Result<(), UpstreamError> {
        let identity = self.identity().ok_or(UpstreamError::NotEnrolled)?;
        self.certify(None, Anchor::Known(identity.authority.clone())).await.map(drop)
    }

    fn identity(&self) -> Option<Arc<Identity>> {
        self.state().identity.clone()
    }

    async fn sync(&self) -> Result<Offer, UpstreamError> {
        self.authorised()?.get(paths::SYNC).await.map_err(|e| self.explained(e))
    }

    async fn index(&self, artifact: &Digest, max: usize) -> Result<Bytes, UpstreamError> {
        self.bytes(&paths::artifact_index(artifact), max).await
    }

    async fn torrent(&self, artifact: &Digest) -> Result<Bytes, UpstreamError> {
        self.bytes(&paths::artifact_torrent(artifact), swarm::torrent::MAX_TORRENT_LEN).await
    }

    async fn manifest(&self, manifest: &Digest) -> Result<Bytes, UpstreamError> {
        self.bytes(&paths::manifest(manifest), MAX_MANIFEST).await
    }

    async fn metadata(&self, name: &str) -> Result<Option<ByteStream>, UpstreamError> {
        self.authorised()?.get_stream(&paths::metadata(name)).await.map_err(|e| self.explained(e))
    }

    async fn report(&self, batch: &Batch) -> Result<Acknowledged, UpstreamError> {
        self.authorised()?.post(paths::REPORTS, batch).await.map_err(|e| self.explained(e))
    }

    async fn calls(&self) -> Result<Box<dyn Calls>, UpstreamError> {
        let stream =
            self.authorised()?.events(paths::EVENTS, None, self.silence).await.map_err(|e| self.explained(e))?;
        Ok(Box::new(stream))
    }
}
