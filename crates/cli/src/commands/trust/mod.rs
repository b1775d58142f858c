//! `filial trust`: keys, roles and signed metadata.
//!
//! Only `fetch` talks to a server: offline keys stay where they are, and proposals travel to them as files.

mod change;
mod fetch;
pub(crate) mod files;
mod init;
pub(crate) mod release;
mod view;

use std::path::{Path, PathBuf};

use serde_json::json;
use trust::SigningKey;

use crate::args::{Global, TrustCommand};
use crate::failure::Failure;
use crate::files::{can_create, save};
use crate::output::{answer, fields};

use files::{read, read_proposal, sign as sign_with};

pub(crate) fn run(global: &Global, command: TrustCommand) -> Result<(), Failure> {
    match command {
        TrustCommand::Init(args) => init::run(global, &args),
        TrustCommand::Key { file } => key(global, &file),
        TrustCommand::Inspect { folder } => view::inspect(global, &read(&folder)?),
        TrustCommand::Fetch { folder, root } => fetch::run(global, &folder, &root),
        TrustCommand::Propose(args) => change::propose(global, &args),
        TrustCommand::Sign { proposal, key } => sign(global, &proposal, &key),
        TrustCommand::Accept { folder, proposals, online } => change::accept(global, &folder, &proposals, &online),
    }
}

fn key(global: &Global, file: &Path) -> Result<(), Failure> {
    can_create(file)?;
    let public = SigningKey::create(file)?.public();
    let value = json!({ "file": file, "public": public, "id": public.id() });
    answer(global.json, &value, |_| {
        fields(&[("key", file.display().to_string()), ("public", public.to_string()), ("id", public.id().short())])
    })
}

fn sign(global: &Global, path: &Path, keys: &[PathBuf]) -> Result<(), Failure> {
    let mut proposal = read_proposal(path)?;
    for key in keys {
        sign_with(&mut proposal, key)?;
    }
    if !keys.is_empty() {
        save(path, &proposal.to_bytes()?)?;
    }
    view::proposal(global, path, &proposal)
}
