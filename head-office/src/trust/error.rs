//! Why something could not be signed, published or read.

use std::path::PathBuf;

use tokio::task::JoinError;
use trust::{Refusal, Why};

/// Why something could not be signed or read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The library said no.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    Refused(Refusal),
    /// There is no metadata in the folder.
    #[error(
        "there is no metadata in {}: make it with `filial trust init`, and name its folder metadata/ in trust.metadata",
        .0.display()
    )]
    NoMetadata(PathBuf),
    /// The thread failed.
    #[error("the thread that signs failed")]
    Worker(#[from] JoinError),
}

impl From<Refusal> for TrustError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl TrustError {
    /// Why the library said no, if it did.
    pub fn why(&self) -> Option<Why> {
        match self {
            Self::Refused(refusal) => Some(refusal.why()),
            _ => None,
        }
    }
}
