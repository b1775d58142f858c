//! Head office's side of trust: the signed metadata of the fleet, and the keys that sign it online.
//!
//! There is one writer at a time. A change works on a copy, which is published and written durably before it is visible;
//! what is signed already is not signed again, so that everything here may be repeated after a kill. The folder is head
//! office's, but `filial trust accept` may change it too: each writer holds its lock, and head office looks again
//! before each change and once a minute.

mod error;
mod health;
mod keys;
mod standing;
pub mod tls;
mod writer;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::Bytes;
use chrono::{DateTime, Utc};
use fleet_types::{Digest, ProductName};
use release::ReleaseKeys;
use trust::repository::{Change, Proposal, Repository, RoleName, SignatureState, SignedArtifact, SignedPayload, store};
use trust::{Refusal, Why, plans};
use wire::Envelope;
use wire::v1::plan::Plan;

use crate::config::{Signing, TrustSettings};
use keys::Keys;
use writer::{Inner, sign};

pub use error::TrustError;
pub use health::{Expiry, alerts};
pub use standing::{OtherRelease, Standing};

/// The metadata and the keys. Clones share them.
#[derive(Debug, Clone)]
pub struct Trust(Arc<Inner>);

impl Trust {
    /// Reads metadata and keys, and sees that they belong together. Blocking.
    ///
    /// # Errors
    /// They cannot be read, or do not.
    pub fn open(settings: &TrustSettings) -> Result<Self, TrustError> {
        if !settings.metadata.join("1.root.json").is_file() {
            return Err(TrustError::NoMetadata(settings.metadata.clone()));
        }
        let repository = store::read(&settings.metadata)?;
        let keys = Keys::read(&settings.keys, &repository)?;
        for role in keys.roles().filter(|role| matches!(role, RoleName::Product(_))) {
            if settings.signing == Signing::Offline {
                tracing::warn!(%role, "a release key lies at head office although releases are signed offline; it is not used");
            }
        }
        Ok(Self(Arc::new(Inner::new(settings.clone(), keys, repository)?)))
    }

    /// The file of this name, if it is one of the present state or of the one before.
    pub fn file(&self, name: &str) -> Option<Bytes> {
        self.0.now().files.get(name).cloned()
    }

    /// The files of the present state, by name.
    pub fn files(&self) -> Vec<(String, Bytes)> {
        let now = self.0.now();
        let own = now.files.iter().filter(|(name, _)| !now.is_superseded(name));
        own.map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
    }

    /// The version of the newest timestamp.
    pub fn timestamp(&self) -> Option<u64> {
        self.0.now().repository.version(&RoleName::Timestamp)
    }

    /// Signs a plan.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn seal(&self, plan: &Plan) -> Result<Envelope, Refusal> {
        plans::sign(plan, &self.0.keys.of(&RoleName::Plan))
    }

    /// Whether enough present plan keys signed something, by the ids of the keys that did.
    ///
    /// Also while head office itself has none of them and could not do better.
    pub fn sealed<'a>(&self, signers: impl IntoIterator<Item = &'a str>) -> bool {
        let state = self.0.now();
        if self.0.keys.enough(&RoleName::Plan, &state.repository).is_none() {
            return true;
        }
        let known = |id: &str| id.parse().ok().filter(|id| state.plan_keys.by_id(*id).is_some());
        let signers: BTreeSet<Digest> = signers.into_iter().filter_map(known).collect();
        signers.len() >= state.plan_keys.threshold() as usize
    }

    /// What the rule on signatures may know of a release.
    pub fn release_keys(&self, product: &ProductName, payloads: &[SignedPayload]) -> ReleaseKeys {
        let state = self.0.now();
        match (state.repository.holders(&RoleName::Product(product.clone())), standing::of(&state.repository, payloads))
        {
            (Err(_), _) => ReleaseKeys::Unassigned,
            (Ok(_), Standing::Signed) => ReleaseKeys::Signed,
            (Ok(_), Standing::Otherwise) => ReleaseKeys::SignedOtherwise,
            (Ok(set), Standing::Unsigned) => ReleaseKeys::Holders {
                threshold: set.threshold(),
                keys: u32::try_from(set.keys().count()).unwrap_or(u32::MAX),
            },
        }
    }

    /// Whether the release keys vouch for exactly these payloads.
    pub fn standing(&self, payloads: &[SignedPayload]) -> Standing {
        standing::of(&self.0.now().repository, payloads)
    }

    /// Whether head office itself signs releases of the product.
    ///
    /// It is told to, and has the keys.
    pub fn signs(&self, product: &ProductName) -> bool {
        let role = RoleName::Product(product.clone());
        self.0.signs_online(&role) && self.0.keys.enough(&role, &self.0.now().repository).is_some()
    }

    /// How many release keys of the product must sign; none if the role has no holders.
    pub fn threshold(&self, product: &ProductName) -> Option<u32> {
        self.0.now().repository.holders(&RoleName::Product(product.clone())).ok().map(|set| set.threshold())
    }

    /// Judges a proposal that was posted for a release.
    ///
    /// It must add exactly these payloads to what the product's role signs, and change nothing else.
    ///
    /// # Errors
    /// Made against other metadata (sign again), content that the role may not say, over already; or, in the inner result,
    /// it is for something else.
    pub fn judge(
        &self,
        proposal: &Proposal,
        payloads: &[SignedPayload],
        now: DateTime<Utc>,
    ) -> Result<Result<SignatureState, OtherRelease>, Refusal> {
        standing::judge(&self.0.now().repository, proposal, payloads, now)
    }

    /// Takes a release that enough holders signed, and publishes it.
    ///
    /// One that is in force is left as it is.
    ///
    /// # Errors
    /// As [`Repository::accept`] and [`Repository::publish`], or it cannot be written.
    pub async fn accept(
        &self,
        proposal: Proposal,
        payloads: Vec<SignedPayload>,
        now: DateTime<Utc>,
    ) -> Result<(), TrustError> {
        self.change(now, move |_, repository| match standing::of(repository, &payloads) {
            Standing::Signed => Ok(false),
            _ => repository.accept(&proposal).map(|()| true),
        })
        .await
    }

    /// Publishes metadata that vouches for a release and its artifacts.
    ///
    /// # Errors
    /// Its payloads are not signed and are not head office's to sign, or something cannot be signed, published or written.
    pub async fn vouch(
        &self,
        payloads: Vec<SignedPayload>,
        artifacts: Vec<SignedArtifact>,
        now: DateTime<Utc>,
    ) -> Result<(), TrustError> {
        let inner = self.0.clone();
        self.change(now, move |keys, repository| {
            let mut changed = false;
            if standing::of(repository, &payloads) != Standing::Signed {
                let product = payloads.first().map(|p| RoleName::Product(p.product.clone()));
                let role = product.filter(|role| inner.signs_online(role));
                let Some(role) = role else {
                    let text = "The release keys did not sign this release, or do not any more.";
                    return Err(Refusal::new(Why::NotSigned, text));
                };
                sign(keys, repository, &role, &[Change::Release(payloads)], now)?;
                changed = true;
            }
            let known = repository.artifacts()?;
            let new: Vec<_> = artifacts.into_iter().filter(|a| !known.contains(a)).collect();
            if !new.is_empty() {
                sign(keys, repository, &RoleName::Derived, &[Change::Artifacts(new)], now)?;
                changed = true;
            }
            Ok(changed)
        })
        .await
    }

    /// Vouches for a release no more.
    ///
    /// What is left to others is left: see [`Trust::standing`] afterwards.
    ///
    /// # Errors
    /// It cannot be signed, published or written.
    pub async fn withdraw(&self, payloads: Vec<SignedPayload>, now: DateTime<Utc>) -> Result<(), TrustError> {
        let Some(first) = payloads.first() else { return Ok(()) };
        let (role, version) = (RoleName::Product(first.product.clone()), first.version.clone());
        if !self.signs(&first.product) || self.standing(&payloads) != Standing::Signed {
            return Ok(());
        }
        self.change(now, move |keys, repository| {
            if standing::of(repository, &payloads) != Standing::Signed {
                return Ok(false);
            }
            sign(keys, repository, &role, &[Change::Withdraw(version)], now).map(|()| true)
        })
        .await
    }

    /// The payloads for which release keys vouch, and the artifacts that belong to them.
    ///
    /// # Errors
    /// Never for metadata that was accepted.
    pub fn content(&self) -> Result<(Vec<SignedPayload>, Vec<SignedArtifact>), Refusal> {
        let state = self.0.now();
        Ok((state.repository.payloads()?, state.repository.artifacts()?))
    }

    /// Whether the metadata in force vouches for these payloads and artifacts.
    ///
    /// For exactly these payloads, and for each of the artifacts.
    pub fn vouches(&self, payloads: &[SignedPayload], artifacts: &[SignedArtifact]) -> bool {
        let state = self.0.now();
        let known = state.repository.artifacts().unwrap_or_default();
        standing::of(&state.repository, payloads) == Standing::Signed && artifacts.iter().all(|a| known.contains(a))
    }

    /// Forgets artifacts that are gone from the store.
    ///
    /// # Errors
    /// It cannot be signed, published or written.
    pub async fn forget(&self, artifacts: Vec<Digest>, now: DateTime<Utc>) -> Result<(), TrustError> {
        self.change(now, move |keys, repository| {
            let (gone, stays): (Vec<_>, Vec<_>) =
                repository.artifacts()?.into_iter().partition(|a| artifacts.contains(&a.sha256));
            let payloads: BTreeSet<Digest> = gone.iter().map(|a| a.payload).collect();
            if payloads.is_empty() {
                return Ok(false);
            }
            // A payload is forgotten with all its artifacts: those that stay are said again.
            let again = stays.into_iter().filter(|a| payloads.contains(&a.payload)).collect();
            let mut changes: Vec<_> = payloads.iter().copied().map(Change::Forget).collect();
            changes.push(Change::Artifacts(again));
            sign(keys, repository, &RoleName::Derived, &changes, now).map(|()| true)
        })
        .await
    }

    /// Takes over metadata published by another program, before anything is judged by it.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn look_again(&self, now: DateTime<Utc>) -> Result<(), TrustError> {
        self.change(now, |_, _| Ok(false)).await
    }

    /// Renews in time what head office signs; takes over what another program published.
    ///
    /// # Errors
    /// Something cannot be renewed; everything else was.
    pub async fn refresh(&self, now: DateTime<Utc>) -> Result<(), TrustError> {
        let inner = self.0.clone();
        let trouble = Arc::new(Mutex::new(None));
        let told = trouble.clone();
        self.change(now, move |keys, repository| {
            let mut due = inner.is_due(repository, now);
            let roles: Vec<_> = keys.roles().filter(|role| inner.renews(role, repository, now)).cloned().collect();
            for role in roles {
                match sign(keys, repository, &role, &[], now) {
                    Ok(()) => due = true,
                    // The others, and above all the timestamp, do not wait for it.
                    Err(refusal) => *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal),
                }
            }
            Ok(due)
        })
        .await?;
        match trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    /// When each role expires.
    pub fn expiries(&self) -> Vec<Expiry> {
        let state = self.0.now();
        let renewed =
            |role: &RoleName| self.0.signs_online(role) && self.0.keys.enough(role, &state.repository).is_some();
        let all = state.repository.roles().unwrap_or_default().into_iter();
        all.filter_map(|role| {
            let at = state.repository.expires(&role)?;
            Some(Expiry { by_itself: renewed(&role), life: self.0.life(&role), role, at })
        })
        .collect()
    }

    /// Does a change on a blocking thread; `work` answers whether it changed anything.
    async fn change(
        &self,
        now: DateTime<Utc>,
        work: impl FnOnce(&Keys, &mut Repository) -> Result<bool, Refusal> + Send + 'static,
    ) -> Result<(), TrustError> {
        let inner = self.0.clone();
        // Also if this future is dropped, the thread ends what it began.
        tokio::task::spawn_blocking(move || inner.change(now, work)).await??;
        Ok(())
    }
}
