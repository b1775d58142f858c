//! `filial trust propose` and `accept`: changes holders and expiries, and publishes signed changes.

use fleet_types::plural;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use trust::repository::{Change, Lifetimes, Online, Proposal, Repository, RoleName, store};
use trust::{KeySet, SigningKey};

use super::files::{metadata, now, read, read_proposal};
use super::view;
use crate::args::{Global, ProposeArgs};
use crate::failure::Failure;
use crate::files::save;
use crate::output::answer;

pub(super) fn propose(global: &Global, args: &ProposeArgs) -> Result<(), Failure> {
    let mut repository = read(&args.folder)?;
    for proposal in merged(&args.after)? {
        repository.accept(&proposal)?;
    }
    let now = now();
    let expires = now + TimeDelta::days(i64::from(args.days));
    let holders = holders(&repository, args)?;
    let changes: Vec<_> = args.withdraw.iter().cloned().map(Change::Withdraw).collect();
    let proposal = match (&args.role, holders) {
        (role, _) if !changes.is_empty() => repository.propose(role, &changes, now, expires)?,
        (RoleName::Root | RoleName::Targets | RoleName::Snapshot | RoleName::Timestamp, holders) => {
            top_level(&repository, &args.role, holders, now, expires)?
        }
        (role, Some(holders)) => delegated(&repository, role, holders, now)?,
        (role, None) => repository.propose(role, &[], now, expires)?,
    };
    save(&args.out, &proposal.to_bytes()?)?;
    view::proposal(global, &args.out, &proposal)
}

/// The new holders; `None` if they stay.
fn holders(repository: &Repository, args: &ProposeArgs) -> Result<Option<KeySet>, Failure> {
    if args.key.is_empty() {
        return Ok(None);
    }
    let present = repository.holders(&args.role).map_or(1, |set| set.threshold());
    Ok(Some(KeySet::new(&args.key, args.threshold.unwrap_or(present))?))
}

fn top_level(
    repository: &Repository,
    role: &RoleName,
    holders: Option<KeySet>,
    now: DateTime<Utc>,
    expires: DateTime<Utc>,
) -> Result<Proposal, Failure> {
    // Without new holders, `targets` is signed again by its present holders: its own file, not the root's.
    if let (RoleName::Targets, None) = (role, &holders) {
        let Some(spec) = repository.delegation_spec()? else {
            return Err(Failure::said(
                "The metadata has no delegations yet",
                "Create the first metadata with `filial trust init`.",
            ));
        };
        return Ok(repository.propose_delegations(&trust::repository::DelegationSpec { expires, ..spec }, now)?);
    }
    let mut spec = repository.root_spec()?;
    if let Some(holders) = holders {
        match role {
            RoleName::Root => spec.root = holders,
            RoleName::Targets => spec.targets = holders,
            RoleName::Snapshot => spec.snapshot = holders,
            _ => spec.timestamp = holders,
        }
    }
    spec.expires = spec.expires.max(expires);
    Ok(repository.propose_root(&spec)?)
}

fn delegated(
    repository: &Repository,
    role: &RoleName,
    holders: KeySet,
    now: DateTime<Utc>,
) -> Result<Proposal, Failure> {
    let Some(mut spec) = repository.delegation_spec()? else {
        return Err(Failure::said(
            "The metadata has no delegations yet",
            "Create the first metadata with `filial trust init`.",
        ));
    };
    match role {
        RoleName::Product(product) => _ = spec.products.insert(product.clone(), holders),
        RoleName::Derived => spec.derived = holders,
        _ => spec.plan = holders,
    }
    Ok(repository.propose_delegations(&spec, now)?)
}

pub(super) fn accept(global: &Global, folder: &Path, files: &[PathBuf], online: &Path) -> Result<(), Failure> {
    let proposals = merged(files)?;
    let place = metadata(folder);
    // Reports missing metadata before trying to lock it.
    read(folder)?;
    let _lock = store::lock(&place)?;
    let mut repository = read(folder)?;
    for proposal in &proposals {
        let state = repository.signature_state(proposal)?;
        if !state.complete() {
            let missing = plural(state.missing, "signature", "signatures");
            let valid = plural(state.signed_by.len(), "is valid", "are valid");
            let sentence = format!("The proposal for role {} lacks {missing}; {valid}", proposal.role());
            let remedy = "Have other holders sign it with `filial trust sign`, then repeat the command.";
            return Err(Failure::said(sentence, remedy));
        }
        repository.accept(proposal)?;
    }
    let [snapshot, timestamp] =
        ["snapshot", "timestamp"].map(|name| SigningKey::read(&online.join(format!("{name}.pem"))));
    let (snapshot, timestamp) = (snapshot?, timestamp?);
    let keys = Online { snapshot: &[&snapshot], timestamp: &[&timestamp] };
    repository.publish(keys, now(), Lifetimes::default())?;
    store::write(&place, &repository)?;
    let taken: Vec<_> = proposals.iter().map(|p| json!({ "role": p.role(), "version": p.version() })).collect();
    let value = json!({ "metadata": place, "taken": taken });
    answer(global.json, &value, |_| {
        let lines: Vec<_> =
            proposals.iter().map(|p| format!("role {}: version {} is in force", p.role(), p.version())).collect();
        format!("{}\n{}: published", lines.join("\n"), place.display())
    })
}

/// Reads the proposals in order; merges copies of one proposal signed in different places.
fn merged(files: &[PathBuf]) -> Result<Vec<Proposal>, Failure> {
    let mut proposals: Vec<Proposal> = Vec::new();
    for file in files {
        let proposal = read_proposal(file)?;
        let digest = proposal.digest()?;
        let same = |p: &&mut Proposal| p.role() == proposal.role() && p.digest().is_ok_and(|d| d == digest);
        match proposals.iter_mut().find(same) {
            Some(there) => there.merge(&proposal)?,
            None => proposals.push(proposal),
        }
    }
    Ok(proposals)
}
