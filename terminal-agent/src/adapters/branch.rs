//! The branch server's machine listener over HTTP.

use std::future::Future;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fleet_types::Digest;
use reqwest::Method;
use service_kit::Secret;
use service_kit::client::{ByteStream, ClientError, JsonClient, Timeouts};
use tokio::sync::Notify;
use wire::v1::paths;
use wire::v1::plan::ArtifactRef;
use wire::v1::reports::{Acknowledged, Batch};
use wire::v1::sync::{EnrolRequest, EnrolResponse, Sync};

use crate::ports::Branch;

/// The event stream says at least this often that it is alive; silence for longer means that it is dead.
const STREAM_IDLE: Duration = Duration::from_secs(90);

/// A file takes at most this many times as long as an answer: slow retrieval is ours to bound.
const FILE_FACTOR: u32 = 10;

/// The branch server at one address.
pub struct HttpBranch {
    client: RwLock<JsonClient>,
    request: Duration,
}

impl HttpBranch {
    /// The branch server at `url`, which may take `request` to answer.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(url: &str, request: Duration) -> Result<Self, ClientError> {
        let timeouts = Timeouts { connect: request.min(Duration::from_secs(5)), idle: STREAM_IDLE, total: request };
        Ok(Self { client: RwLock::new(JsonClient::new(url, None, timeouts)?), request })
    }

    fn client(&self) -> JsonClient {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn within<T>(
        &self,
        limit: Duration,
        path: &str,
        work: impl Future<Output = Result<T, ClientError>> + Send,
    ) -> Result<T, ClientError> {
        let silent = |_| ClientError::Silent { url: format!("{}{path}", self.client().base_url()), idle: limit };
        tokio::time::timeout(limit, work).await.map_err(silent)?
    }

    async fn file(&self, path: &str, max: usize) -> Result<Bytes, ClientError> {
        let client = self.client();
        self.within(self.request * FILE_FACTOR, path, client.get_bytes(path, max)).await
    }
}

#[async_trait]
impl Branch for HttpBranch {
    fn authenticate(&self, token: Secret) {
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        *client = client.with_token(token);
    }

    async fn enrol(&self, request: &EnrolRequest) -> Result<EnrolResponse, ClientError> {
        self.client().post(paths::ENROL, request).await
    }

    async fn sync(&self) -> Result<Sync, ClientError> {
        self.client().get(paths::SYNC).await
    }

    async fn manifest(&self, digest: &Digest, max: usize) -> Result<Bytes, ClientError> {
        self.file(&paths::manifest(digest), max).await
    }

    async fn index(&self, artifact: &ArtifactRef, max: usize) -> Result<Bytes, ClientError> {
        self.file(&paths::artifact_index(&artifact.sha256), max).await
    }

    async fn torrent(&self, artifact: &ArtifactRef, max: usize) -> Result<Bytes, ClientError> {
        self.file(&paths::artifact_torrent(&artifact.sha256), max).await
    }

    async fn metadata(&self, name: &str) -> Result<Option<ByteStream>, ClientError> {
        self.client().get_stream(&paths::metadata(name)).await
    }

    async fn report(&self, batch: &Batch) -> Result<Acknowledged, ClientError> {
        self.client().post(paths::REPORTS, batch).await
    }

    async fn healthy(&self) -> Result<(), ClientError> {
        const HEALTHZ: &str = "/healthz";
        let client = self.client();
        let request = client.request(Method::GET, HEALTHZ);
        self.within(self.request, HEALTHZ, async { client.send(request, HEALTHZ).await.map(|_| ()) }).await
    }

    async fn listen(&self, wake: &Notify) -> Result<(), ClientError> {
        let client = self.client();
        let opening = client.events(paths::EVENTS, None, STREAM_IDLE);
        let mut events = self.within(self.request, paths::EVENTS, opening).await?;
        // What was said while nobody listened is lost: look once.
        wake.notify_one();
        while events.next().await?.is_some() {
            wake.notify_one();
        }
        Ok(())
    }
}
