//! Head office as this server sees it: the [`HeadOffice`] trait and its HTTP client.
//!
//! Nothing here is believed beyond its bounds: sizes are limited while they arrive, and who asks checks digests.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest};
use service_kit::Secret;
use service_kit::client::{ByteStream, ClientError, EventStream, JsonClient, Timeouts};
use service_kit::config::{ConfigError, read_secret_file};
use trust::Refusal;
use trust::certificates::{
    Anchor, Chain, FleetTime, Identity as Who, JoinToken, Suffix, TlsKey, client_config, none_denied, request_to_pem,
};
use wire::Code;
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch};
use wire::v1::sync::{BranchEnrolRequest, BranchEnrolResponse, Sync as Offer};

use crate::config::HeadOfficeSettings;
use crate::identity::{Age, Files, Identity, RENEWED_AFTER};

/// Largest manifest in bytes that is fetched.
pub const MAX_MANIFEST: usize = 1024 * 1024;

/// Why head office did not do it.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// This server has no identity yet.
    #[error("This branch server has not enrolled at head office yet.")]
    NotEnrolled,
    /// Head office does not know our key.
    #[error(
        "Head office does not accept this server's identity: on head office add the branch again (filial branch add), \
         put the new join token into {}.", join_token_file.display()
    )]
    IdentityRefused {
        /// Where the join token belongs.
        join_token_file: PathBuf,
    },
    /// A kit does not have it.
    #[error(
        "The kit does not have everything that its plan names: write a new one at head office (filial kit export)."
    )]
    NotCarried,
    /// It refused, could not be reached, or answered nonsense.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The join token cannot be read.
    #[error("The join token for head office cannot be read: put what filial branch add printed into that file.")]
    JoinToken(#[source] ConfigError),
    /// The join token is none, or this server's key or certificates cannot be used.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    Identity(Refusal),
}

impl From<Refusal> for UpstreamError {
    fn from(refusal: Refusal) -> Self {
        Self::Identity(refusal)
    }
}

impl UpstreamError {
    /// The stable code of a refusal.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Client(error) => error.code(),
            _ => None,
        }
    }
}

/// What this server asks of head office.
#[async_trait]
pub trait HeadOffice: Send + Sync {
    /// Has this server's key certified by the join token, keeps the certificate, and says whose branch server this is.
    async fn enrol(&self) -> Result<BranchName, UpstreamError>;

    /// How much this server's certificate has left; none before it enrolled.
    fn age(&self) -> Option<Age>;

    /// Has the same key certified anew, also after the certificate expired.
    async fn renew(&self) -> Result<(), UpstreamError>;

    /// Whose branch server this is; none before it enrolled.
    fn branch(&self) -> Option<BranchName> {
        self.identity().map(|identity| identity.branch.clone())
    }

    /// Who this server is; none before it enrolled.
    fn identity(&self) -> Option<Arc<Identity>>;

    /// The plan that head office offers.
    async fn sync(&self) -> Result<Offer, UpstreamError>;

    /// An artifact's index, at most `max` bytes.
    async fn index(&self, artifact: &Digest, max: usize) -> Result<Bytes, UpstreamError>;

    /// An artifact's WAN torrent.
    async fn torrent(&self, artifact: &Digest) -> Result<Bytes, UpstreamError>;

    /// A manifest, at most [`MAX_MANIFEST`] bytes.
    async fn manifest(&self, manifest: &Digest) -> Result<Bytes, UpstreamError>;

    /// A file of signed metadata by its name, as it arrives; nothing if head office says that it has none.
    async fn metadata(&self, name: &str) -> Result<Option<ByteStream>, UpstreamError>;

    /// Delivers reports.
    async fn report(&self, batch: &Batch) -> Result<Acknowledged, UpstreamError>;

    /// Opens the stream of calls to look again.
    async fn calls(&self) -> Result<Box<dyn Calls>, UpstreamError>;
}

/// Calls to look again, one after the other.
#[async_trait]
pub trait Calls: Send {
    /// Waits for the next call; false when head office ended the stream.
    async fn next(&mut self) -> Result<bool, UpstreamError>;
}

#[async_trait]
impl Calls for EventStream {
    async fn next(&mut self) -> Result<bool, UpstreamError> {
        Ok(EventStream::next(self).await?.is_some())
    }
}

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

/// Who this server is, and the connections that it makes as such.
#[derive(Default)]
struct State {
    identity: Option<Arc<Identity>>,
    line: Option<Line>,
}

/// A client with a certificate of this server's own.
struct Line {
    client: JsonClient,
    made: DateTime<Utc>,
}

impl HttpHeadOffice {
    /// Head office by its settings, with the identity that is kept in `folder`, if there is one. Blocking.
    ///
    /// # Errors
    /// The address is none, or the identity is there and cannot be read.
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

    /// A client that presents this server's certificate: a fresh one at two thirds of its life, long before it expires.
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

    /// Has this server's key certified by whoever `anchor` proves, and keeps the answer before anything uses it.
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

    /// A refused identity has a remedy of its own.
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
