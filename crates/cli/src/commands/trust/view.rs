//! What is signed, in plain words.

use std::path::Path;

use serde_json::json;
use trust::repository::{Inspection, Proposal, Repository, RoleView};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::units::size;
use crate::output::{answer, fields, plain, table};

pub(super) fn inspect(global: &Global, repository: &Repository) -> Result<(), Failure> {
    let now = super::files::now();
    answer(global.json, &repository.inspect()?, |seen: &Inspection| {
        let rows: Vec<_> = seen.roles.iter().map(|role| row(role, now)).collect();
        let mut out = table(["role", "signed by", "version", "expires", "may sign"], &rows);
        let rows: Vec<_> = seen
            .payloads
            .iter()
            .map(|p| [format!("{} {}", p.product, p.version), plain(&p.payload), size(p.length), p.sha256.short()])
            .collect();
        if rows.is_empty() {
            out.push_str("\nNo releases are signed.\n");
        } else {
            out.push('\n');
            out.push_str(&table(["release", "payload", "size", "sha256"], &rows));
        }
        out
    })
}

fn row(role: &RoleView, now: chrono::DateTime<chrono::Utc>) -> [String; 5] {
    let signers: Vec<_> = role.signed_by.iter().map(|id| id.short()).collect();
    let signers = if signers.is_empty() { "unsigned".to_owned() } else { signers.join(" ") };
    let until = role.expires.map_or_else(String::new, |until| {
        let over = if until <= now { ", expired" } else { "" };
        format!("{}{over}", until.format("%Y-%m-%d"))
    });
    [
        role.role.to_string(),
        format!("{signers} ({} of {} needed)", role.threshold, role.holders.len()),
        role.version.map_or_else(|| "-".to_owned(), |v| v.to_string()),
        until,
        role.pattern.clone().unwrap_or_default(),
    ]
}

pub(super) fn proposal(global: &Global, path: &Path, proposal: &Proposal) -> Result<(), Failure> {
    let (digest, signers) = (proposal.digest()?, proposal.claimed_signers());
    let value = json!({
        "file": path, "role": proposal.role(), "base": proposal.base(), "version": proposal.version(),
        "expires": proposal.expires(), "digest": digest, "signatures": signers,
    });
    answer(global.json, &value, |_| {
        let signers: Vec<_> = signers.iter().map(|id| id.short()).collect();
        fields(&[
            ("proposal", path.display().to_string()),
            ("role", proposal.role().to_string()),
            ("version", proposal.version().to_string()),
            ("replaces", proposal.base().map_or_else(|| "none".to_owned(), |v| v.to_string())),
            ("expires", proposal.expires().format("%Y-%m-%d").to_string()),
            ("digest", digest.to_string()),
            ("signed by", if signers.is_empty() { "none yet".to_owned() } else { signers.join(" ") }),
        ])
    })
}
