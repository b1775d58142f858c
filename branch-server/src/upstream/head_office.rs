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

/// Why a request to head office failed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// This server has no identity yet.
    #[error("This branch server has not enrolled at head office yet.")]
    NotEnrolled,
    /// Head office does not know our key.
    #[error(
        "Head office does not accept this server's identity. Add the branch again at head office (`filial branch add`) and \
         put the new join token into {}.", join_token_file.display()
    )]
    IdentityRefused {
        /// Where the join token belongs.
        join_token_file: PathBuf,
    },
    /// A kit does not have it.
    #[error("The kit lacks files that its plan names. Write a new one at head office with `filial kit export`.")]
    NotCarried,
    /// It refused, could not be reached, or answered nonsense.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The join token cannot be read.
    #[error("The join token for head office cannot be read. Put the output of `filial branch add` into that file.")]
    JoinToken(#[source] ConfigError),
    /// The join token, this server's key or its certificates are not valid.
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

/// Head office as this server uses it.
#[async_trait]
pub trait HeadOffice: Send + Sync {
    /// Enrols with the join token, stores the certificate, and returns this server's branch.
    async fn enrol(&self) -> Result<BranchName, UpstreamError>;

    /// Returns the age of this server's certificate; none before it enrolled.
    fn age(&self) -> Option<Age>;

    /// Renews the certificate of the same key, also after it expired.
    async fn renew(&self) -> Result<(), UpstreamError>;

    /// Returns this server's branch; none before it enrolled.
    fn branch(&self) -> Option<BranchName> {
        self.identity().map(|identity| identity.branch.clone())
    }

    /// Returns this server's identity; none before it enrolled.
    fn identity(&self) -> Option<Arc<Identity>>;

    /// Returns the plan that head office offers.
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
