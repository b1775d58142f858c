//! What is signed by whom until when, as plain data.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tough::schema::{Role, Signature};

use super::state::Repository;
use crate::keys::{KeyId, KeySet, PublicKey};
use crate::metadata::names::{RoleName, SignedArtifact, SignedPayload};
use crate::metadata::schema::{self, File};
use crate::refusal::Refusal;

/// The whole repository, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Every role, in the order root, targets, snapshot, timestamp, products, derived, plan.
    pub roles: Vec<RoleView>,
    /// The payloads that release keys signed.
    pub payloads: Vec<SignedPayload>,
    /// The artifacts that head office derived from them.
    pub artifacts: Vec<SignedArtifact>,
}

/// One role, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleView {
    /// The role.
    pub role: RoleName,
    /// Who holds it.
    pub holders: Vec<KeyView>,
    /// How many of them must sign.
    pub threshold: u32,
    /// The version in force; nothing if it was never signed.
    pub version: Option<u64>,
    /// Until when.
    pub expires: Option<DateTime<Utc>>,
    /// The holders whose signatures hold.
    pub signed_by: BTreeSet<KeyId>,
    /// The pattern of paths that it may sign.
    pub pattern: Option<String>,
}

/// One key, for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// Its TUF id.
    pub id: KeyId,
    /// Its public part.
    pub public: PublicKey,
}

impl Repository {
    /// What is signed by whom until when.
    ///
    /// # Errors
    /// Never for a repository that was read or accepted.
    pub fn inspect(&self) -> Result<Inspection, Refusal> {
        let mut roles = vec![self.view(&RoleName::Root, self.roots.values().next_back())?];
        roles.push(self.view(&RoleName::Targets, self.targets.as_ref())?);
        roles.push(self.view(&RoleName::Snapshot, self.snapshot.as_ref())?);
        roles.push(self.view(&RoleName::Timestamp, self.timestamp.as_ref())?);
        for delegated in &self.delegations().roles {
            let role = delegated.name.parse()?;
            roles.push(self.view(&role, self.delegated.get(&role))?);
        }
        Ok(Inspection { roles, payloads: self.payloads()?, artifacts: self.artifacts()? })
    }

    fn view<T>(&self, role: &RoleName, file: Option<&File<T>>) -> Result<RoleView, Refusal>
    where
        T: Role + Serialize + serde::de::DeserializeOwned,
    {
        let holders = self.holders(role)?;
        Ok(RoleView {
            role: role.clone(),
            threshold: holders.threshold(),
            version: file.map(File::version),
            expires: file.map(File::expires),
            signed_by: file
                .map(|f| signers(&f.signed.signed, &f.signed.signatures, &holders))
                .transpose()?
                .unwrap_or_default(),
            pattern: role.pattern(),
            holders: holders.keys().map(|public| KeyView { id: public.id(), public }).collect(),
        })
    }
}

fn signers<T: Role>(body: &T, signatures: &[Signature], holders: &KeySet) -> Result<BTreeSet<KeyId>, Refusal> {
    Ok(schema::valid_signers(&schema::canonical(body)?, signatures, holders))
}
