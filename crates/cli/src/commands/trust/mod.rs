//! `filial trust`: keys, who holds which role, and what they signed. Nothing here speaks to a server: offline keys stay
//! where they are, and proposals travel to them as files.

mod change;
mod fetch;
mod init;
mod release;
mod view;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SubsecRound as _, Utc};
use serde_json::json;
use service_kit::durable::write_file;
use service_kit::{Clock as _, SystemClock};
use trust::SigningKey;
use trust::repository::{MAX_PROPOSAL, Proposal, Repository, store};

use crate::args::{Global, TrustCommand};
use crate::failure::Failure;
use crate::output::{answer, fields};

pub(crate) use release::sign as sign_release;

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
    let public = SigningKey::create(file)?.public();
    let value = json!({ "file": file, "public": public, "id": public.id() });
    answer(global.json, &value, |_| {
        fields(&[("key", file.display().to_string()), ("public", public.to_string()), ("id", public.id().short())])
    })
}

fn sign(global: &Global, path: &Path, keys: &[PathBuf]) -> Result<(), Failure> {
    let mut proposal = read_proposal(path)?;
    for key in keys {
        proposal.sign(&SigningKey::read(key)?)?;
    }
    if !keys.is_empty() {
        write_file(path, &proposal.to_bytes()?)?;
    }
    view::proposal(global, path, &proposal)
}

/// Now, in whole seconds, as metadata has it.
fn now() -> DateTime<Utc> {
    SystemClock.now().trunc_subsecs(0)
}

/// The folder that holds the metadata: the one that was named, or `metadata/` in it.
fn metadata(folder: &Path) -> PathBuf {
    let inner = folder.join("metadata");
    if inner.is_dir() { inner } else { folder.to_owned() }
}

fn read(folder: &Path) -> Result<Repository, Failure> {
    let place = metadata(folder);
    if !place.join("1.root.json").is_file() {
        let sentence = format!("{} holds no metadata: there is no 1.root.json", place.display());
        let remedy = "Name the folder that `filial trust init` made, or head office's folder of metadata.";
        return Err(Failure::said(sentence, remedy));
    }
    Ok(store::read(&place)?)
}

pub(super) fn read_proposal(path: &Path) -> Result<Proposal, Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Failure::read(path))?;
    file.take(MAX_PROPOSAL + 1).read_to_end(&mut bytes).map_err(Failure::read(path))?;
    Ok(Proposal::parse(&bytes)?)
}
