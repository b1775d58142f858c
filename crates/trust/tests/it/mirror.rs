//! A mirror in memory that does what it is told, and a machine that updates from it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::stream;
use trust::client::{Body, Client, Fetch, FetchError, Limits};
use trust::repository::Repository;
use trust::{Refusal, Why};

/// What the mirror does with one file, beside serving it.
#[derive(Clone)]
pub enum Trick {
    /// Sends these bytes again and again.
    Endless(Bytes),
    /// Sends the first half and then nothing more.
    Stalls,
    /// Never answers.
    Silent,
    /// Fails.
    Fails,
}

#[derive(Clone, Default)]
pub struct Mirror {
    pub files: BTreeMap<String, Vec<u8>>,
    pub tricks: BTreeMap<String, Trick>,
    /// The names that were asked for.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl From<BTreeMap<String, Vec<u8>>> for Mirror {
    fn from(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self { files, ..Self::default() }
    }
}

impl Mirror {
    pub fn of(repository: &Repository) -> Self {
        repository.files().into()
    }

    pub fn with(mut self, name: &str, trick: Trick) -> Self {
        self.tricks.insert(name.to_owned(), trick);
        self
    }
}

#[async_trait]
impl Fetch for Mirror {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        self.asked.lock().unwrap().push(name.to_owned());
        let bytes = self.files.get(name).cloned();
        let half = || Bytes::from(bytes.clone().unwrap_or_default()).slice(..bytes.as_ref().map_or(0, |b| b.len() / 2));
        match self.tricks.get(name) {
            Some(Trick::Endless(chunk)) => Ok(Some(Box::pin(stream::iter(std::iter::repeat(chunk.clone()).map(Ok))))),
            Some(Trick::Stalls) => Ok(Some(Box::pin(stream::iter([Ok(half())]).chain(stream::pending())))),
            Some(Trick::Silent) => std::future::pending().await,
            Some(Trick::Fails) => Err(FetchError("the link is down".to_owned())),
            None => Ok(bytes.map(|b| Box::pin(stream::iter([Ok(Bytes::from(b))])) as Body)),
        }
    }
}

/// A machine that was provisioned with a repository's newest root.
pub struct Machine {
    pub folder: tempfile::TempDir,
    pub client: Client,
    pub clock: DateTime<Utc>,
    pub limits: Limits,
}

impl Machine {
    pub fn pinned(repository: &Repository, clock: DateTime<Utc>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::provision(&folder.path().join("trust.json"), repository.root_file(), clock).unwrap();
        // Long enough for a busy machine; a file that never comes is waited for as long.
        Self { folder, client, clock, limits: Limits { deadline: Duration::from_secs(20), ..Limits::default() } }
    }

    pub async fn update(&mut self, mirror: &Mirror) -> Result<(), Why> {
        self.try_update(mirror).await.map_err(|r| r.why())
    }

    pub async fn try_update(&mut self, mirror: &Mirror) -> Result<(), Refusal> {
        self.client.update(Arc::new(mirror.clone()), self.limits, self.clock).await
    }

    pub fn restarted(mut self) -> Self {
        self.client = Client::open(&self.folder.path().join("trust.json")).unwrap();
        self
    }
}
