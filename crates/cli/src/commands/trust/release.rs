//! `filial release sign`: signs a release's payloads with offline release keys.

use std::path::PathBuf;

use chrono::TimeDelta;
use fleet_types::Digest;
use release::Manifest;
use trust::SigningKey;
use trust::repository::{Change, Proposal, RoleName, SignedPayload};

use super::files::{not_a_holder, now, read, read_proposal};
use super::view;
use crate::args::{Global, ReleaseSignArgs};
use crate::commands::signatures;
use crate::failure::Failure;
use crate::files::save;

/// Signs the payloads of the manifest.
///
/// The caller has checked the archive's bytes against its digests.
pub(crate) fn sign(
    global: &Global,
    args: &ReleaseSignArgs,
    manifest: &Manifest,
    sha256: Digest,
) -> Result<(), Failure> {
    let role = RoleName::Product(manifest.product.clone());
    let payloads = payloads(manifest, sha256);
    let out = match &args.out {
        Some(out) => out.clone(),
        None => PathBuf::from(format!("{}-{}.proposal", manifest.product, manifest.version)),
    };
    let repository = read(&args.metadata)?;
    let mut proposal = match out.exists() {
        true => read_proposal(&out)?,
        false => {
            let now = now();
            let expires = now + TimeDelta::days(i64::from(args.days));
            repository.propose(&role, &[Change::Release(payloads.clone())], now, expires)?
        }
    };
    check(&repository, &proposal, &role, &payloads, &out)?;
    let holders = repository.holders(&role)?;
    for path in &args.key {
        let key = SigningKey::read(path)?;
        if holders.by_id(key.public().id()).is_none() {
            return Err(not_a_holder(path, &role));
        }
        proposal.sign(&key)?;
    }
    save(&out, &proposal.to_bytes()?)?;
    if args.post {
        return signatures::post(global, &format!("{}/{}", manifest.product, manifest.version), &out);
    }
    view::proposal(global, &out, &proposal)
}

/// Checks that the proposal adds this release and changes nothing else.
///
/// The file may come from an attacker.
fn check(
    repository: &trust::repository::Repository,
    proposal: &Proposal,
    role: &RoleName,
    payloads: &[SignedPayload],
    out: &std::path::Path,
) -> Result<(), Failure> {
    let other = || {
        let sentence = format!("{} proposes changes other than this release", out.display());
        Failure::said(sentence, "Give another file with --out, or delete this one.")
    };
    if proposal.role() != role {
        return Err(other());
    }
    let change = repository.difference(proposal)?;
    let only_this = change.removed.is_empty()
        && change.added.iter().eq({
            let mut sorted: Vec<_> = payloads.iter().collect();
            sorted.sort();
            sorted
        });
    if only_this { Ok(()) } else { Err(other()) }
}

fn payloads(manifest: &Manifest, sha256: Digest) -> Vec<SignedPayload> {
    let payload = |p: &release::Payload| SignedPayload {
        product: manifest.product.clone(),
        version: manifest.version.clone(),
        payload: p.name.to_string(),
        manifest: sha256,
        sha256: p.sha256,
        length: p.size,
    };
    manifest.payloads.iter().map(payload).collect()
}
