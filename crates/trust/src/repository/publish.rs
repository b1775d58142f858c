//! Publishing: snapshot and timestamp over what is in force, signed online.

use chrono::{DateTime, TimeDelta, Utc};
use tough::schema::{Metafile, Role, RoleType, Signature, Signed, Snapshot, Timestamp};

use super::state::Repository;
use crate::keys::SigningKey;
use crate::metadata::content::{delegated_roles, unsigned};
use crate::metadata::names::RoleName;
use crate::metadata::schema::{self, File, ISSUED, SPEC_VERSION};
use crate::refusal::{Refusal, Why, refuse};

/// Head office's online keys.
#[derive(Debug, Clone, Copy)]
pub struct Online<'a> {
    /// The keys of the role `snapshot`.
    pub snapshot: &'a [&'a SigningKey],
    /// The keys of the role `timestamp`.
    pub timestamp: &'a [&'a SigningKey],
}

/// How long online metadata lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of the snapshot.
    pub snapshot: TimeDelta,
    /// Of the timestamp.
    pub timestamp: TimeDelta,
}

impl Default for Lifetimes {
    /// Seven days each.
    fn default() -> Self {
        Self { snapshot: TimeDelta::days(7), timestamp: TimeDelta::days(7) }
    }
}

impl Repository {
    /// Makes a new snapshot and timestamp of what is in force; also the regular refresh.
    ///
    /// Versions are `max(last + 1, Unix milliseconds of now)`. The caller makes sure that its clock is synchronised.
    ///
    /// # Errors
    /// A delegated role has no version that its present holders signed, root or targets expired, or a key does not hold
    /// its role. Nothing changed then.
    pub fn publish(&mut self, online: Online<'_>, now: DateTime<Utc>, lifetimes: Lifetimes) -> Result<(), Refusal> {
        self.check_publishable(now)?;
        let snapshot = self.next_snapshot(now, now + lifetimes.snapshot)?;
        let snapshot = self.signed(snapshot, &RoleName::Snapshot, online.snapshot)?;
        let timestamp = self.next_timestamp(&snapshot, now, now + lifetimes.timestamp)?;
        let timestamp = self.signed(timestamp, &RoleName::Timestamp, online.timestamp)?;
        (self.snapshot, self.timestamp) = (Some(snapshot), Some(timestamp));
        Ok(())
    }

    /// Whether [`Repository::publish`] could be done now, and if not, why.
    ///
    /// # Errors
    /// As [`Repository::publish`], without the keys.
    pub fn check_publishable(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        let expired = |role: &RoleName, until: DateTime<Utc>| {
            refuse(
                Why::MetadataExpired,
                format!("Role {role} expired on {until}; its holders must sign it again first."),
            )
        };
        let root_until = schema::to_chrono(self.root.signed.expires);
        if root_until <= now {
            return expired(&RoleName::Root, root_until);
        }
        let Some(targets) = &self.targets else {
            return refuse(Why::RoleUnsigned, "The holders of targets have not signed any delegations yet.");
        };
        let role = RoleName::Targets;
        self.root.signed.verify_role(&targets.signed).map_err(|_| must_sign_again(&role))?;
        if targets.expires() <= now {
            return expired(&role, targets.expires());
        }
        let delegations = self.delegations();
        for role in delegated_roles(&targets.signed.signed)? {
            // tough loads no delegated role at all if one of them is missing in the snapshot.
            let Some(file) = self.delegated.get(&role) else {
                let sentence = format!("The holders of role {role} have not signed its first version yet.");
                return refuse(Why::RoleUnsigned, sentence);
            };
            delegations.verify_role(&file.signed, &role.to_string()).map_err(|_| must_sign_again(&role))?;
        }
        Ok(())
    }

    fn next_snapshot(&self, now: DateTime<Utc>, expires: DateTime<Utc>) -> Result<Snapshot, Refusal> {
        let version = schema::next_version(self.version(&RoleName::Snapshot), now)?;
        let mut snapshot = Snapshot::new(SPEC_VERSION.to_owned(), version, schema::to_jiff(expires)?);
        // A name that was listed once stays listed, also when its role is gone (TUF 1.0, 5.5.5).
        if let Some(last) = &self.snapshot {
            snapshot.meta = last.signed.signed.meta.clone();
        }
        let files = self.targets.iter().map(|f| (RoleName::Targets, f));
        for (role, file) in files.chain(self.delegated.iter().map(|(role, f)| (role.clone(), f))) {
            snapshot.meta.insert(role.meta(), metafile(file));
        }
        Ok(snapshot)
    }

    fn next_timestamp(
        &self,
        of: &File<Snapshot>,
        now: DateTime<Utc>,
        expires: DateTime<Utc>,
    ) -> Result<Timestamp, Refusal> {
        let version = schema::next_version(self.version(&RoleName::Timestamp), now)?;
        let mut timestamp = Timestamp::new(SPEC_VERSION.to_owned(), version, schema::to_jiff(expires)?);
        timestamp.meta.insert(RoleName::Snapshot.meta(), metafile(of));
        // Clients raise their time floor to it. The version cannot stand for it: after a restore it runs ahead of the clock.
        timestamp._extra.insert(ISSUED.to_owned(), serde_json::json!(schema::to_chrono(schema::to_jiff(now)?)));
        Ok(timestamp)
    }

    fn signed<T>(&self, body: T, role: &RoleName, keys: &[&SigningKey]) -> Result<File<T>, Refusal>
    where
        T: Role + serde::Serialize + serde::de::DeserializeOwned,
    {
        let message = schema::canonical(&body)?;
        let holders = self.holders(role)?;
        if let Some(stranger) = keys.iter().find(|k| holders.by_id(k.public().id()).is_none()) {
            let sentence = format!("Key {} does not hold role {role}.", stranger.public().id().short());
            return refuse(Why::ProposalUnknownKey, sentence);
        }
        let sign =
            |k: &&SigningKey| Signature { keyid: schema::decoded(k.public().id()), sig: k.sign(&message).into() };
        let signed = Signed { signed: body, signatures: keys.iter().map(sign).collect() };
        debug_assert!(matches!(T::TYPE, RoleType::Snapshot | RoleType::Timestamp));
        self.root.signed.verify_role(&signed).map_err(unsigned(role))?;
        File::new(signed)
    }
}

fn must_sign_again(role: &RoleName) -> Refusal {
    Refusal::new(
        Why::RoleUnsigned,
        format!("Role {role} is not signed by its current holders; they must sign it again."),
    )
}

fn metafile<T: Role + serde::Serialize + serde::de::DeserializeOwned>(file: &File<T>) -> Metafile {
    Metafile {
        length: Some(file.bytes.len() as u64),
        hashes: Some(schema::hashes(&file.bytes)),
        version: file.signed.signed.version(),
        _extra: Default::default(),
    }
}
