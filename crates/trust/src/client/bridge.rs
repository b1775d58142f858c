//! Adapts a [`Fetch`] to tough's transport, with bounds in bytes and time.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tough::error::Error as ToughError;
use tough::{Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;

use super::fetch::Fetch;
use crate::metadata::file_names::max_file;
use crate::refusal::{Refusal, Why, refuse};

/// The address that tough believes to fetch from; only the names after it are used.
pub(crate) const BASE: &str = "file:///metadata/";

/// Most files that one update keeps: more than a fleet has products.
const MAX_SEEN: usize = 4096;

/// tough's transport. Clones share what was seen.
#[derive(Clone)]
pub(crate) struct Bridge {
    source: Arc<dyn Fetch>,
    deadline: Duration,
    /// What was accepted last: a file of a version never changes, so it is not fetched again.
    held: Arc<BTreeMap<String, Vec<u8>>>,
    seen: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    trouble: Arc<Mutex<Option<Refusal>>>,
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bridge")
    }
}

impl Bridge {
    pub fn new(source: Arc<dyn Fetch>, deadline: Duration, held: BTreeMap<String, Vec<u8>>) -> Self {
        let held = Arc::new(held);
        Self { source, deadline, held, seen: Arc::default(), trouble: Arc::default() }
    }

    /// Returns the files fetched so far, by name.
    pub fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the first failure to fetch.
    pub fn trouble(&self) -> Option<Refusal> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One file, whole; nothing if the source has none.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(most) = max_file(name) else {
            return refuse(Why::MetadataForm, format!("{name:?} is not the name of a metadata file."));
        };
        match tokio::time::timeout(self.deadline, self.read(name, most)).await {
            Ok(read) => read,
            Err(_) => {
                let sentence = format!("{name} did not arrive within {} s.", self.deadline.as_secs_f64());
                refuse(Why::SlowRetrieval, sentence)
            }
        }
    }

    async fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, Refusal> {
        let failed = |e| Refusal::new(Why::Unfetchable, format!("Cannot fetch {name}: {e}."));
        let Some(mut body) = self.source.fetch(name).await.map_err(failed)? else { return Ok(None) };
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(failed)?;
            if (bytes.len() + chunk.len()) as u64 > most {
                return refuse(Why::EndlessData, format!("{name} has more than {most} bytes."));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Refusal> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_SEEN {
            return refuse(Why::EndlessData, format!("The metadata lists more than {MAX_SEEN} files."));
        }
        seen.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    async fn answer(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        // tough compares it with the digest that the snapshot lists, wherever it comes from.
        let held = self.held.get(name).filter(|_| name != "timestamp.json").cloned();
        let bytes = match held {
            Some(bytes) => Some(bytes),
            None => self.get(name).await?,
        };
        match &bytes {
            Some(bytes) => self.keep(name, bytes)?,
            // Walking roots ends where there is no further one; everything else must be there.
            None if name.ends_with(".root.json") => {}
            None => return refuse(Why::Unfetchable, format!("The source does not have {name}.")),
        }
        Ok(bytes)
    }
}

#[async_trait]
impl Transport for Bridge {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let name = url.as_str().strip_prefix(BASE).unwrap_or_default();
        match self.answer(name).await {
            Ok(Some(bytes)) => Ok(Box::pin(futures_util::stream::iter([Ok(Bytes::from(bytes))]))),
            Ok(None) => Err(TransportError::new(TransportErrorKind::FileNotFound, url.as_str())),
            Err(refusal) => {
                self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(refusal.clone());
                // In the stream and not at once: tough takes any error at once for "there is no newer root".
                let error = TransportError::new_with_cause(TransportErrorKind::Other, url.as_str(), refusal);
                Ok(Box::pin(futures_util::stream::iter([Err(error)])))
            }
        }
    }
}

/// What tough refused, with our code.
pub(crate) fn refusal(error: &ToughError) -> Refusal {
    use ToughError as E;
    let why = match error {
        E::OlderMetadata { .. }
        | E::OlderSnapshotInTimestamp { .. }
        | E::SnapshotRoleMissing { .. }
        | E::SnapshotRoleRollback { .. } => Why::MetadataRollback,
        E::VersionMismatch { .. } | E::MetaMissing { .. } | E::SnapshotTargetsMetaMissing { .. } => Why::MetadataMixed,
        E::VerifyMetadata { .. } | E::VerifyTrustedMetadata { .. } | E::VerifyRoleMetadata { .. } => {
            Why::MetadataSignature
        }
        E::MaxUpdatesExceeded { .. } => Why::TooManyRoots,
        E::InvalidPath { .. } => Why::OutOfPath,
        E::Transport { source, .. } => within(source),
        E::DatastoreInit { .. }
        | E::DatastoreCreate { .. }
        | E::DatastoreOpen { .. }
        | E::DatastoreRemove { .. }
        | E::DatastoreSerialize { .. } => Why::Storage,
        _ => Why::MetadataForm,
    };
    Refusal::new(why, format!("The metadata is not valid: {}.", service_kit::edge::chain(error)))
}

/// tough reports a wrong digest and too many bytes as errors of its transport.
fn within(error: &TransportError) -> Why {
    match error.source().and_then(|cause| cause.downcast_ref::<ToughError>()) {
        Some(ToughError::MaxSizeExceeded { .. }) => Why::EndlessData,
        Some(ToughError::HashMismatch { .. }) => Why::MetadataDigest,
        _ => Why::Unfetchable,
    }
}
