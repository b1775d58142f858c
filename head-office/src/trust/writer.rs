//! The one writer: copies what is in force, changes the copy, publishes it, writes it durably, and only then shows it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use actix_web::web::Bytes;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use trust::repository::{Change, Lifetimes, Online, Repository, RoleName, store};
use trust::{KeySet, Refusal, Why};

use super::keys::Keys;
use crate::config::{Signing, TrustSettings};

/// How long online roles that vouch for something last: they are renewed at half of it.
const ROLE_LIFE: TimeDelta = TimeDelta::days(365);

#[derive(Debug)]
pub(super) struct Inner {
    settings: TrustSettings,
    pub keys: Keys,
    writer: Mutex<()>,
    in_force: RwLock<Arc<InForce>>,
}

/// What is published.
#[derive(Debug)]
pub(super) struct InForce {
    pub repository: Repository,
    /// By name; also those of the state before, for clients that have fetched some of them.
    pub files: BTreeMap<String, Bytes>,
    /// Of the state before.
    names_before: Vec<String>,
    pub plan_keys: KeySet,
}

impl InForce {
    /// Whether a file is of the state before and no more.
    pub fn is_superseded(&self, name: &str) -> bool {
        self.names_before.iter().any(|before| before == name)
    }

    fn new(repository: Repository, before: Option<&Self>) -> Result<Self, Refusal> {
        let plan_keys = repository.holders(&RoleName::Plan)?;
        let own: BTreeMap<String, Bytes> =
            repository.files().into_iter().map(|(name, bytes)| (name, Bytes::from(bytes))).collect();
        let mut files = BTreeMap::new();
        if let Some(before) = before {
            let superseded = before.files.iter().filter(|(name, _)| !before.names_before.contains(name));
            files.extend(superseded.map(|(name, bytes)| (name.clone(), bytes.clone())));
        }
        let names_before = files.keys().filter(|name| !own.contains_key(*name)).cloned().collect();
        files.extend(own);
        Ok(Self { repository, files, names_before, plan_keys })
    }
}

impl Inner {
    pub fn new(settings: TrustSettings, keys: Keys, repository: Repository) -> Result<Self, Refusal> {
        let in_force = RwLock::new(Arc::new(InForce::new(repository, None)?));
        Ok(Self { settings, keys, writer: Mutex::new(()), in_force })
    }

    pub fn now(&self) -> Arc<InForce> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, repository: Repository) -> Result<(), Refusal> {
        let next = InForce::new(repository, Some(&self.now()))?;
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    /// Does a change: `work` says whether it changed anything. Blocking.
    pub fn change(
        &self,
        now: DateTime<Utc>,
        work: impl FnOnce(&Keys, &mut Repository) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = &self.settings.metadata;
        let _lock = store::lock(folder)?;
        if store::has_moved_on(folder, &self.now().repository)? {
            self.put(store::read(folder)?)?;
            tracing::info!(folder = %folder.display(), "metadata published by another program is in force");
        }
        let mut next = self.now().repository.clone();
        if !work(&self.keys, &mut next)? {
            return Ok(());
        }
        let (snapshot, timestamp) = (self.keys.of(&RoleName::Snapshot), self.keys.of(&RoleName::Timestamp));
        let life = self.settings.life;
        let lifetimes = Lifetimes { snapshot: life, timestamp: life };
        let online = Online { snapshot: &snapshot, timestamp: &timestamp };
        next.publish(online, now.trunc_subsecs(0), lifetimes)?;
        store::write(folder, &next)?;
        let version = next.version(&RoleName::Timestamp);
        self.put(next)?;
        tracing::info!(version, "metadata published");
        Ok(())
    }

    /// Whether head office is told to sign for the role by itself.
    ///
    /// For a product only if releases are signed online.
    pub fn signs_online(&self, role: &RoleName) -> bool {
        !matches!(role, RoleName::Product(_)) || self.settings.signing == Signing::Online
    }

    /// How long what is signed for the role lasts.
    pub fn life(&self, role: &RoleName) -> TimeDelta {
        match role {
            RoleName::Snapshot | RoleName::Timestamp => self.settings.life,
            _ => ROLE_LIFE,
        }
    }

    /// Whether less than half of the life of snapshot or timestamp is left, or none.
    pub fn is_due(&self, repository: &Repository, now: DateTime<Utc>) -> bool {
        [RoleName::Snapshot, RoleName::Timestamp].iter().any(|role| self.is_past_half(role, repository, now))
    }

    /// Whether a delegated role is head office's to renew, and it is time.
    pub fn renews(&self, role: &RoleName, repository: &Repository, now: DateTime<Utc>) -> bool {
        role.is_delegated()
            && self.signs_online(role)
            && self.keys.enough(role, repository).is_some()
            && self.is_past_half(role, repository, now)
    }

    fn is_past_half(&self, role: &RoleName, repository: &Repository, now: DateTime<Utc>) -> bool {
        repository.expires(role).is_none_or(|until| until - now < self.life(role) / 2)
    }
}

/// Signs a change of a delegated role by all keys that hold it, and takes it.
pub(super) fn sign(
    keys: &Keys,
    repository: &mut Repository,
    role: &RoleName,
    changes: &[Change],
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    let now = now.trunc_subsecs(0);
    let Some(keys) = keys.enough(role, repository) else {
        let text = format!("Head office does not have enough keys of role {role}.");
        return Err(Refusal::new(Why::ProposalThreshold, text));
    };
    // Never shorter than what stands there: the holders may have meant it.
    let until = repository.expires(role).unwrap_or(now).max(now + ROLE_LIFE);
    let mut proposal = repository.propose(role, changes, now, until)?;
    for key in keys {
        proposal.sign(key)?;
    }
    repository.accept(&proposal)
}
