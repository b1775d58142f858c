//! The branch server's machine listener over HTTP.

use std::future::Future;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleet_types::Digest;
use reqwest::Method;
use service_kit::client::{ByteStream, ClientError, Distrust, JsonClient, Timeouts};
use tokio::sync::Notify;
use trust::Refusal;
use trust::certificates::{
    Anchor, Chain, FleetTime, Identity as Who, Peer, Suffix, TlsKey, client_config, none_denied,
};
use wire::v1::paths;
use wire::v1::plan::ArtifactRef;
use wire::v1::reports::{Acknowledged, Batch};
use wire::v1::sync::{EnrolRequest, EnrolResponse, Sync};

use crate::model::identity::Identity;
use crate::ports::Branch;

/// The event stream says at least this often that it is alive.
///
/// Silence for longer means that it is dead.
const STREAM_IDLE: Duration = Duration::from_secs(90);

/// A file takes at most this many times as long as an answer.
///
/// Slow retrieval is ours to bound.
const FILE_FACTOR: u32 = 10;

/// The branch server at one address, known by the fleet's authority.
pub struct HttpBranch {
    url: String,
    timeouts: Timeouts,
    time: FleetTime,
    /// `None` before this terminal enrolled.
    client: RwLock<Option<JsonClient>>,
    request: Duration,
}

impl HttpBranch {
    /// The branch server at `url`, which may take `request` to answer.
    ///
    /// Certificates are judged by `time`.
    pub fn new(url: &str, request: Duration, time: FleetTime) -> Self {
        let timeouts = Timeouts { connect: request.min(Duration::from_secs(5)), idle: STREAM_IDLE, total: request };
        Self { url: url.to_owned(), timeouts, time, client: RwLock::default(), request }
    }

    fn distrusted(&self, why: impl std::fmt::Display) -> ClientError {
        ClientError::Distrusted {
            url: self.url.clone(),
            why: Distrust::Other(why.to_string().trim_end_matches('.').to_owned()),
        }
    }

    fn client(&self) -> Result<JsonClient, ClientError> {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        client.ok_or_else(|| self.distrusted("this terminal has not enrolled yet"))
    }

    fn dial(&self, own: Option<(Chain, &TlsKey)>, anchor: Anchor, peer: Peer) -> Result<JsonClient, ClientError> {
        let (suffix, time) = (Suffix::default(), self.time.clone());
        let tls = client_config(own, anchor, suffix, peer, none_denied(), time);
        JsonClient::secure(&self.url, tls.map_err(|refusal: Refusal| self.distrusted(refusal))?, self.timeouts)
    }

    async fn within<T>(
        &self,
        limit: Duration,
        path: &str,
        work: impl Future<Output = Result<T, ClientError>> + Send,
    ) -> Result<T, ClientError> {
        let silent = |_| ClientError::Silent { url: format!("{}{path}", self.url), idle: limit };
        tokio::time::timeout(limit, work).await.map_err(silent)?
    }

    async fn file(&self, path: &str, max: usize) -> Result<Bytes, ClientError> {
        let client = self.client()?;
        self.within(self.request * FILE_FACTOR, path, client.get_bytes(path, max)).await
    }
}

#[async_trait]
impl Branch for HttpBranch {
    fn authenticate(&self, identity: &Identity, key: &TlsKey) -> Result<(), ClientError> {
        let anchor = Anchor::Known(identity.authority.clone());
        let client =
            self.dial(Some((identity.chain.clone(), key)), anchor, Who::Branch(identity.branch.clone()).into())?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = Some(client);
        Ok(())
    }

    fn not_before(&self, floor: DateTime<Utc>) {
        self.time.set_floor(floor);
    }

    async fn enrol(&self, anchor: Anchor, peer: Peer, request: &EnrolRequest) -> Result<EnrolResponse, ClientError> {
        // An expired certificate, if presented, would end the connection.
        self.dial(None, anchor, peer)?.post(paths::ENROL, request).await
    }

    async fn sync(&self) -> Result<Sync, ClientError> {
        self.client()?.get(paths::SYNC).await
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
        self.client()?.get_stream(&paths::metadata(name)).await
    }

    async fn report(&self, batch: &Batch) -> Result<Acknowledged, ClientError> {
        self.client()?.post(paths::REPORTS, batch).await
    }

    async fn healthy(&self) -> Result<(), ClientError> {
        const HEALTHZ: &str = "/healthz";
        let client = self.client()?;
        let request = client.request(Method::GET, HEALTHZ);
        self.within(self.request, HEALTHZ, async { client.send(request, HEALTHZ).await.map(|_| ()) }).await
    }

    async fn listen(&self, wake: &Notify) -> Result<(), ClientError> {
        let client = self.client()?;
        let opening = client.events(paths::EVENTS, None, STREAM_IDLE);
        let mut events = self.within(self.request, paths::EVENTS, opening).await?;
        // Events sent before are lost: look once.
        wake.notify_one();
        while events.next().await?.is_some() {
            wake.notify_one();
        }
        Ok(())
    }
}
