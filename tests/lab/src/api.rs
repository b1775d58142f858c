//! A thin client of the programs' operator APIs: what the lab asks, bounded in time.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use fleet_types::{BranchName, Digest, ProductName, TerminalRef, Version};
use reqwest::{Client, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_kit::SystemClock;
use trust::certificates::{Anchor, FleetTime, Identity, Suffix, client_config, none_denied};
use wire::v1::fleet::{AddBranch, Assign, Branch, BranchAdded, PlanIssued, Terminal};
use wire::v1::paths;
use wire::v1::releases::Release;
use wire::v1::status::Status;

use crate::error::LabError;

/// An operator's access to head office or a branch server.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    token: String,
    /// By what the server is known.
    authority: Option<Digest>,
    client: Client,
}

impl Api {
    /// Of the server at `base`, which is to prove by this authority that it is that one.
    pub(crate) fn new(base: String, token: String, known: Option<(Digest, Identity)>) -> Result<Self, LabError> {
        let fail = |why: String| LabError::Api { method: "GET", url: base.clone(), why };
        let mut client = Client::builder();
        let authority = known.as_ref().map(|(pinned, _)| *pinned);
        if let Some((pinned, peer)) = known {
            let time = FleetTime::new(Arc::new(SystemClock), DateTime::UNIX_EPOCH);
            let (suffix, anchor) = (Suffix::default(), Anchor::Pinned(pinned));
            let tls = client_config(None, anchor, suffix, peer, none_denied(), time);
            client = client.use_preconfigured_tls(tls.map_err(|e| fail(e.to_string()))?);
        }
        // Links are cut on purpose here: no call may hang on a dead connection, and none is kept for later.
        let client = client
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .connect_timeout(Duration::from_secs(3))
            .pool_max_idle_per_host(0)
            .build();
        let client = client.map_err(|e| fail(chain(&e)))?;
        Ok(Self { base, token, authority, client })
    }

    /// The address, such as `https://198.18.0.2:7001`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The fingerprint of the authority by which the server is known; none before the lab knows it.
    pub fn authority(&self) -> Option<Digest> {
        self.authority
    }

    /// GET a path as JSON.
    ///
    /// # Errors
    /// It cannot be reached, refuses, or answers something else.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, LabError> {
        let url = format!("{}{path}", self.base);
        self.call("GET", &url, self.client.get(&url)).await
    }

    /// GET a path as it is.
    ///
    /// # Errors
    /// It cannot be reached or refuses.
    pub async fn get_bytes(&self, path: &str) -> Result<Vec<u8>, LabError> {
        let url = format!("{}{path}", self.base);
        self.ask("GET", &url, self.client.get(&url)).await
    }

    /// POST JSON to a path.
    ///
    /// # Errors
    /// It cannot be reached, refuses, or answers something else.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, LabError> {
        let url = format!("{}{path}", self.base);
        self.call("POST", &url, self.client.post(&url).json(body)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        url: &str,
        request: RequestBuilder,
    ) -> Result<T, LabError> {
        let body = self.ask(method, url, request).await?;
        let fail = |why: String| LabError::Api { method, url: url.to_owned(), why };
        serde_json::from_slice(&body).map_err(|e| fail(format!("the answer is not what it should be: {e}")))
    }

    async fn ask(&self, method: &'static str, url: &str, request: RequestBuilder) -> Result<Vec<u8>, LabError> {
        let fail = |why: String| LabError::Api { method, url: url.to_owned(), why };
        let answer = request.bearer_auth(&self.token).send().await.map_err(|e| fail(chain(&e)))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|e| fail(chain(&e)))?;
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&body).chars().take(1000).collect();
            return Err(fail(format!("{status}: {text}")));
        }
        Ok(body.to_vec())
    }

    /// Whether the program says that it is ready.
    pub async fn is_ready(&self) -> Result<(), LabError> {
        let url = format!("{}/readyz", self.base);
        let fail = |why: String| LabError::Api { method: "GET", url: url.clone(), why };
        let answer = self.client.get(&url).send().await.map_err(|e| fail(chain(&e)))?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        if status.is_success() { Ok(()) } else { Err(fail(format!("{status}: {text}"))) }
    }

    /// One picture of everything.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn status(&self) -> Result<Status, LabError> {
        self.get(paths::STATUS).await
    }

    /// All terminals.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn terminals(&self) -> Result<Vec<Terminal>, LabError> {
        self.get(paths::TERMINALS).await
    }

    /// One terminal.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn terminal(&self, t: &TerminalRef) -> Result<Terminal, LabError> {
        self.get(&format!("{}/{}/{}", paths::TERMINALS, t.branch, t.terminal)).await
    }

    /// All branches.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn branches(&self) -> Result<Vec<Branch>, LabError> {
        self.get(paths::BRANCHES).await
    }

    /// All releases.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn releases(&self) -> Result<Vec<Release>, LabError> {
        self.get(paths::RELEASES).await
    }

    /// The newest release of this version that is not rejected or withdrawn, else the newest at all.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn release(&self, product: &ProductName, version: &Version) -> Result<Option<Release>, LabError> {
        let mut all = self.releases().await?;
        all.retain(|r| r.product.as_ref() == Some(product) && r.version.as_ref() == Some(version));
        all.sort_by_key(|r| r.created);
        Ok(all.pop())
    }

    /// Adds a branch; the answer holds its join token.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn add_branch(&self, name: &BranchName) -> Result<BranchAdded, LabError> {
        self.post(paths::BRANCHES, &AddBranch { name: name.clone(), join_token_seconds: None }).await
    }

    /// Assigns a version to a branch.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn assign(&self, assign: &Assign) -> Result<PlanIssued, LabError> {
        self.post(paths::ASSIGNMENTS, assign).await
    }
}

/// An error with everything under it: reqwest's own text leaves the cause out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
