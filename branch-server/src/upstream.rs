//! Head office as this server sees it: the [`HeadOffice`] trait and its HTTP client.
//!
//! Nothing here is believed beyond its bounds: sizes are limited while they arrive, and who asks checks digests.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fleet_types::{BranchName, Digest};
use serde::{Deserialize, Serialize};
use service_kit::client::{ByteStream, ClientError, EventStream, JsonClient, Timeouts};
use service_kit::config::{ConfigError, read_secret_file, read_toml};
use service_kit::durable::{self, DurableError};
use service_kit::{Secret, token};
use wire::Code;
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch};
use wire::v1::sync::{EnrolRequest, EnrolResponse, Sync as Offer};

use crate::config::HeadOfficeSettings;

/// Largest manifest in bytes that is fetched.
pub const MAX_MANIFEST: usize = 1024 * 1024;

/// Why head office did not do it.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// This server has no identity yet.
    #[error("This branch server has not enrolled at head office yet.")]
    NotEnrolled,
    /// Head office does not know our token.
    #[error(
        "Head office does not accept this server's identity: on head office add the branch again (filial branch add), \
         put the new join token into {}, and restart.", join_token_file.display()
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
    /// Our identity cannot be read from its file.
    #[error("This server's identity cannot be read.")]
    ReadIdentity(#[source] ConfigError),
    /// The identity that we got cannot be written down.
    #[error("The identity from head office cannot be written down.")]
    WriteIdentity(#[source] toml::ser::Error),
    /// The identity that we got cannot be kept.
    #[error("The identity from head office cannot be kept: see who owns the state folder.")]
    KeepIdentity(#[source] DurableError),
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
    /// Exchanges the join token for an identity, keeps it, and says whose branch server this is.
    async fn enrol(&self) -> Result<BranchName, UpstreamError>;

    /// Whose branch server this is; none before it enrolled.
    fn branch(&self) -> Option<BranchName>;

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

/// Who this server is at head office, as its file has it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    branch: BranchName,
    token: String,
}

/// Head office over HTTP.
pub struct HttpHeadOffice {
    client: JsonClient,
    identity: Mutex<Option<Identity>>,
    identity_file: PathBuf,
    join_token_file: PathBuf,
    /// How long an event stream may be silent.
    silence: Duration,
}

impl HttpHeadOffice {
    /// Head office by its settings, with the identity of `identity_file` if that exists. Blocking.
    ///
    /// # Errors
    /// The address is none, or the identity is there and cannot be read.
    pub fn new(settings: &HeadOfficeSettings, identity_file: PathBuf) -> Result<Self, UpstreamError> {
        let defaults = Timeouts::default();
        let timeouts = Timeouts { total: settings.request, idle: defaults.idle.min(settings.request), ..defaults };
        let client = JsonClient::new(&settings.url, None, timeouts)?;
        let (join_token_file, silence) = (settings.join_token_file.clone(), settings.silence);
        let identity = match identity_file.try_exists() {
            Ok(false) => None,
            _ => Some(read_toml(&identity_file).map_err(UpstreamError::ReadIdentity)?),
        };
        Ok(Self { client, identity: Mutex::new(identity), identity_file, join_token_file, silence })
    }

    fn identity(&self) -> Option<Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn authorised(&self) -> Result<JsonClient, UpstreamError> {
        let identity = self.identity().ok_or(UpstreamError::NotEnrolled)?;
        Ok(self.client.with_token(Secret::new(identity.token)))
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
        // Both files are one line, and this happens once in a server's life: not worth a thread.
        let join_token = read_secret_file(&self.join_token_file).map_err(UpstreamError::JoinToken)?;
        let request = EnrolRequest { join_token: join_token.expose().to_owned(), terminal: None };
        let answer: EnrolResponse = self.client.post(paths::ENROL, &request).await?;
        let identity = Identity { branch: answer.branch.clone(), token: answer.token };
        // Kept before it is used: an identity that only memory knows is lost with the power.
        let text = toml::to_string(&identity).map_err(UpstreamError::WriteIdentity)?;
        durable::write_secret_file(&self.identity_file, text.as_bytes()).map_err(UpstreamError::KeepIdentity)?;
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity);
        Ok(answer.branch)
    }

    fn branch(&self) -> Option<BranchName> {
        self.identity().map(|identity| identity.branch)
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

/// Reads the token that terminals enrol with, or makes it at the first start. Blocking.
///
/// # Errors
/// It cannot be read or written.
pub fn terminals_join_token(file: &std::path::Path) -> Result<Secret, JoinTokenError> {
    if file.try_exists().unwrap_or(true) {
        return Ok(read_secret_file(file)?);
    }
    let fresh = token::generate("terminals");
    durable::write_secret_file(file, format!("{}\n", fresh.expose()).as_bytes())?;
    tracing::info!(file = %file.display(), "made the token that terminals of this branch enrol with");
    Ok(fresh)
}

/// Why there is no token for terminals.
#[derive(Debug, thiserror::Error)]
pub enum JoinTokenError {
    /// It is there and cannot be read.
    #[error("the token that terminals enrol with cannot be read")]
    Read(#[from] ConfigError),
    /// It was not there and cannot be made.
    #[error("the token that terminals enrol with cannot be made")]
    Write(#[from] DurableError),
}
