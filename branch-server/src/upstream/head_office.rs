//! Head office as this server sees it: the [`HeadOffice`] trait and its errors.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use fleet_types::{BranchName, Digest};
use service_kit::client::{ByteStream, ClientError, EventStream};
use service_kit::config::ConfigError;
use trust::Refusal;
use wire::Code;
use wire::v1::reports::{Acknowledged, Batch};
use wire::v1::sync::Sync as Offer;

use super::identity::{Age, Identity};

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
