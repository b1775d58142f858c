//! A fleet's keys and metadata for a test, as `filial trust init` makes them, with a separate clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures_util::stream;
use head_office::config::{Signing, TrustSettings};
use reqwest::Method;
use service_kit::client::JsonClient;
use trust::client::{Body, Client, Fetch, FetchError, Limits};
use trust::repository::{DelegationSpec, Lifetimes, Online, Proposal, Repository, RoleName, RootSpec, store};
use trust::{KeySet, Refusal, SigningKey};

/// The products of every test's fleet.
pub const PRODUCTS: [&str; 4] = ["kiosk", "tools", "signage", "till"];

/// How long everything lasts that head office does not renew: tests turn the clock by months.
const LIFE: TimeDelta = TimeDelta::days(3650);

/// The settings of a fleet whose trust lies in `folder`.
pub fn settings(folder: &Path, signing: Signing) -> TrustSettings {
    TrustSettings { metadata: folder.join("metadata"), keys: folder.join("online"), signing, life: TimeDelta::days(7) }
}

/// The file of a release key of kiosk, by its number from 1 on.
pub fn release_key(folder: &Path, online: bool, number: usize) -> PathBuf {
    folder.join(if online { "online" } else { "offline" }).join(format!("product-kiosk-{number}.pem"))
}

/// Makes keys and metadata. Releases of each product need `threshold` of `keys`, which lie with head office or not.
pub fn make(folder: &Path, now: DateTime<Utc>, online: bool, keys: usize, threshold: u32) {
    let now = now.trunc_subsecs(0);
    for name in ["online", "offline"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let key = |place: &str, name: &str| SigningKey::create(&folder.join(place).join(format!("{name}.pem"))).unwrap();
    let set = |keys: &[SigningKey], threshold| {
        KeySet::new(&keys.iter().map(SigningKey::public).collect::<Vec<_>>(), threshold).unwrap()
    };
    let (root, targets) = (key("offline", "root-1"), key("offline", "targets-1"));
    let [snapshot, timestamp, derived, plan] =
        ["snapshot", "timestamp", "derived", "plan"].map(|name| key("online", name));
    let place = if online { "online" } else { "offline" };
    let holders = |product: &&str| -> Vec<SigningKey> {
        (1..=keys).map(|n| key(place, &format!("product-{product}-{n}"))).collect()
    };
    let products: BTreeMap<&str, Vec<SigningKey>> = PRODUCTS.iter().map(|p| (*p, holders(p))).collect();

    let mut first = Repository::propose_first_root(&RootSpec {
        root: KeySet::one(root.public()),
        targets: KeySet::one(targets.public()),
        snapshot: KeySet::one(snapshot.public()),
        timestamp: KeySet::one(timestamp.public()),
        expires: now + LIFE,
    })
    .unwrap();
    first.sign(&root).unwrap();
    let mut repository = Repository::begin(&first).unwrap();
    let spec = DelegationSpec {
        products: products.iter().map(|(name, keys)| (name.parse().unwrap(), set(keys, threshold))).collect(),
        derived: KeySet::one(derived.public()),
        plan: KeySet::one(plan.public()),
        expires: now + LIFE,
    };
    let delegations = repository.propose_delegations(&spec, now).unwrap();
    take(&mut repository, delegations, &[&targets]);
    for (product, keys) in &products {
        let empty = repository.propose(&RoleName::Product(product.parse().unwrap()), &[], now, now + LIFE).unwrap();
        take(&mut repository, empty, &keys.iter().collect::<Vec<_>>());
    }
    for (role, key) in [(RoleName::Derived, &derived), (RoleName::Plan, &plan)] {
        let empty = repository.propose(&role, &[], now, now + LIFE).unwrap();
        take(&mut repository, empty, &[key]);
    }
    repository.publish(Online { snapshot: &[&snapshot], timestamp: &[&timestamp] }, now, Lifetimes::default()).unwrap();
    store::write(&folder.join("metadata"), &repository).unwrap();
    std::fs::write(folder.join("root.json"), repository.root_file()).unwrap();
}

/// Signs by these keys and takes it.
pub fn take(repository: &mut Repository, mut proposal: Proposal, keys: &[&SigningKey]) {
    keys.iter().for_each(|key| proposal.sign(key).unwrap());
    repository.accept(&proposal).unwrap();
}

/// Publishes and writes as `filial trust accept` does.
pub fn publish(folder: &Path, repository: &mut Repository, now: DateTime<Utc>) {
    let [snapshot, timestamp] =
        ["snapshot", "timestamp"].map(|name| SigningKey::read(&folder.join(format!("online/{name}.pem"))).unwrap());
    let online = Online { snapshot: &[&snapshot], timestamp: &[&timestamp] };
    repository.publish(online, now, Lifetimes::default()).unwrap();
    let metadata = folder.join("metadata");
    let _lock = store::lock(&metadata).unwrap();
    store::write(&metadata, repository).unwrap();
}

/// The holders of root and targets renew what they signed, and an operator publishes it with `filial trust accept`.
pub fn holders_sign_again(folder: &Path, now: DateTime<Utc>) {
    let now = now.trunc_subsecs(0);
    let [root, targets] =
        ["root-1", "targets-1"].map(|name| SigningKey::read(&folder.join(format!("offline/{name}.pem"))).unwrap());
    let mut repository = store::read(&folder.join("metadata")).unwrap();
    let spec = RootSpec { expires: now + LIFE, ..repository.root_spec().unwrap() };
    let next = repository.propose_root(&spec).unwrap();
    take(&mut repository, next, &[&root]);
    let spec = DelegationSpec { expires: now + LIFE, ..repository.delegation_spec().unwrap().unwrap() };
    let next = repository.propose_delegations(&spec, now).unwrap();
    take(&mut repository, next, &[&targets]);
    publish(folder, &mut repository, now);
}

/// A machine that knows nothing but the pinned root, and asks a listener for the rest.
pub struct Machine {
    _dir: tempfile::TempDir,
    pub client: Client,
    source: Arc<Listener>,
}

struct Listener(JsonClient);

#[async_trait]
impl Fetch for Listener {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let failed = |e: reqwest::Error| FetchError(e.to_string());
        let answer = self.0.request(Method::GET, &wire::v1::paths::metadata(name)).send().await.map_err(failed)?;
        match answer.status().as_u16() {
            200 => {
                let bytes = answer.bytes().await.map_err(failed)?;
                Ok(Some(Box::pin(stream::iter([Ok(bytes)]))))
            }
            404 => Ok(None),
            other => Err(FetchError(format!("the listener answers {other}"))),
        }
    }
}

impl Machine {
    /// Provisioned with the root of the fleet in `folder`.
    pub fn new(folder: &Path, listener: JsonClient) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::read(folder.join("root.json")).unwrap();
        let client = Client::provision(&dir.path().join("trust.json"), &root, DateTime::UNIX_EPOCH).unwrap();
        Self { _dir: dir, client, source: Arc::new(Listener(listener)) }
    }

    /// Asks for what is new.
    pub async fn update(&mut self, clock: DateTime<Utc>) -> Result<(), Refusal> {
        self.client.update(self.source.clone(), Limits::default(), clock).await
    }
}
