//! Signed metadata: what this server believes of releases and plan keys. Kept in one file, brought up to date from head
//! office, asked before a new plan is accepted, and mirrored to terminals, who believe none of it before they verified it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use service_kit::edge::chain;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use trust::certificates::FleetTime;
use trust::client::{Body, Client, Fetch, FetchError, Limits, Trusted};
use trust::repository::RoleName;
use trust::{Refusal, Why};

use crate::upstream::head_office::HeadOffice;

/// How long metadata is believed to be the newest without a hint that there is newer: a timestamp lasts days.
const REFRESH: TimeDelta = TimeDelta::hours(6);

/// The trust store, and what came of it last.
pub struct Metadata {
    store: PathBuf,
    source: Arc<dyn Fetch>,
    limits: Limits,
    /// Whose floor is what the metadata proves of the time.
    time: FleetTime,
    /// Taken while an update uses it. A dropped update does not return it: then it is read from the store again.
    client: Mutex<Option<Client>>,
    believed: RwLock<Arc<Believed>>,
}

/// What is believed at one instant. Immutable.
#[derive(Debug, Clone, Default)]
pub struct Believed {
    /// What was accepted last, if anything was.
    pub trusted: Option<Trusted>,
    /// The newest time ever verified.
    pub floor: DateTime<Utc>,
    /// When head office was last found to have nothing newer, since this start.
    pub updated: Option<DateTime<Utc>>,
    /// Why the last update was refused, if it was.
    pub trouble: Option<Refusal>,
    files: BTreeMap<String, Bytes>,
    /// The files before these, for a terminal that is half way through.
    before: BTreeMap<String, Bytes>,
}

impl Believed {
    /// The time to judge by: the clock, or the floor if the clock is behind it.
    pub fn time(&self, clock: DateTime<Utc>) -> DateTime<Utc> {
        clock.max(self.floor)
    }

    /// A file by its name, such as `timestamp.json`.
    pub fn file(&self, name: &str) -> Option<Bytes> {
        self.files.get(name).or_else(|| self.before.get(name)).cloned()
    }

    /// Version of the newest timestamp role.
    pub fn version(&self) -> Option<u64> {
        self.trusted.as_ref()?.version(&RoleName::Timestamp)
    }

    /// Whether head office is to be asked, which says that it has this version.
    pub fn is_due(&self, hint: Option<u64>, clock: DateTime<Utc>) -> bool {
        let newer = hint.is_some_and(|hint| Some(hint) != self.version());
        // A clock that was set back must not put it off.
        newer || self.updated.is_none_or(|at| clock.signed_duration_since(at).abs() >= REFRESH)
    }
}

impl Metadata {
    /// What `client`, whose store is at `store`, believes; brought up to date from `head_office`.
    pub fn new(
        store: PathBuf,
        client: Client,
        head_office: Arc<dyn HeadOffice>,
        limits: Limits,
        time: FleetTime,
    ) -> Self {
        let this = Self {
            store,
            source: Arc::new(FromHeadOffice(head_office)),
            limits,
            time,
            client: Mutex::new(None),
            believed: RwLock::default(),
        };
        this.believe(&client, |_| {});
        Self { client: Mutex::new(Some(client)), ..this }
    }

    /// What is believed now.
    pub fn believed(&self) -> Arc<Believed> {
        self.believed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches and verifies what is new; durable once this returns.
    ///
    /// # Errors
    /// The attack or fault by its code; what was believed before stays, and the trouble is kept to be shown.
    pub async fn update(&self, clock: DateTime<Utc>) -> Result<(), Refusal> {
        self.update_from(self.source.clone(), clock).await.inspect(|()| {
            let mut believed = self.believed.write().unwrap_or_else(PoisonError::into_inner);
            *believed = Arc::new(Believed { updated: Some(clock), ..Believed::clone(&believed) });
        })
    }

    /// As [`Self::update`], from elsewhere than head office: whether head office has newer is not known then.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn update_from(&self, source: Arc<dyn Fetch>, clock: DateTime<Utc>) -> Result<(), Refusal> {
        let mut held = self.client.lock().await;
        let mut client = self.take(&mut held).await?;
        let updated = client.update(source, self.limits, clock).await;
        self.believe(&client, |believed| believed.trouble = updated.as_ref().err().cloned());
        *held = Some(client);
        updated
    }

    /// Raises the time floor to a time that a plan proved.
    ///
    /// # Errors
    /// The trust store cannot be written.
    pub async fn raise_floor(&self, verified: DateTime<Utc>) -> Result<(), Refusal> {
        let mut held = self.client.lock().await;
        let mut client = self.take(&mut held).await?;
        let raised = spawn_blocking(move || {
            let raised = client.raise_floor(verified);
            (client, raised)
        });
        let (client, raised) = raised.await.map_err(broken)?;
        self.believe(&client, |_| {});
        *held = Some(client);
        raised
    }

    async fn take(&self, held: &mut Option<Client>) -> Result<Client, Refusal> {
        match held.take() {
            Some(client) => Ok(client),
            None => {
                let store = self.store.clone();
                spawn_blocking(move || Client::open(&store)).await.map_err(broken)?
            }
        }
    }

    fn believe(&self, client: &Client, edit: impl FnOnce(&mut Believed)) {
        self.time.set_floor(client.floor());
        let last = self.believed();
        let files: BTreeMap<_, _> = client.files().into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
        let before = if files == last.files { last.before.clone() } else { last.files.clone() };
        let mut next = Believed {
            trusted: client.trusted().cloned(),
            floor: client.floor(),
            updated: last.updated,
            trouble: last.trouble.clone(),
            files,
            before,
        };
        edit(&mut next);
        *self.believed.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

fn broken(error: tokio::task::JoinError) -> Refusal {
    Refusal::new(Why::Storage, format!("The task that uses the trust store failed: {error}."))
}

/// Head office as a source of metadata files; who asks bounds length and time.
struct FromHeadOffice(Arc<dyn HeadOffice>);

#[async_trait]
impl Fetch for FromHeadOffice {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let found = self.0.metadata(name).await.map_err(|e| FetchError(chain(&e)))?;
        Ok(found.map(|bytes| Box::pin(bytes.map(|chunk| chunk.map_err(|e| FetchError(chain(&e))))) as Body))
    }
}
