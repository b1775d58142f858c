//! The caller's source of metadata files, and the bounds of one update.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

/// The bytes of one file as they arrive.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, FetchError>> + Send>>;

/// Why a file could not be fetched, as the caller's transport reports it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// A source of metadata files, such as an HTTP client or a kit's folder.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Starts fetching a file such as `timestamp.json`; `None` if the source does not have it.
    ///
    /// The caller bounds length and time by dropping the body.
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError>;
}

/// Bounds of one update, beside those on the length of each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long one file may take.
    pub deadline: Duration,
    /// Maximum new roots per update; the next update continues.
    pub roots: u64,
}

impl Default for Limits {
    /// A minute for each file, 64 roots.
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60), roots: 64 }
    }
}
