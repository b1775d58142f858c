//! What `filial login` keeps: for each server a token and by what it is known, in a file that only its owner can read.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use fleet_types::{Digest, OperatorName};
use serde::{Deserialize, Serialize};
use service_kit::Secret;
use service_kit::durable::write_secret_file;
use uuid::Uuid;

use crate::args::Global;
use crate::failure::Failure;

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A log-in.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Login {
    /// Who.
    pub(crate) operator: OperatorName,
    /// The token's handle.
    pub(crate) id: Uuid,
    /// The token.
    pub(crate) token: String,
    /// Until when.
    pub(crate) expires: DateTime<Utc>,
}

/// All log-ins, by server.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Credentials {
    #[serde(default)]
    servers: BTreeMap<String, Login>,
    /// By which authority each server is known. No secret; kept also when the log-in ends.
    #[serde(default)]
    authorities: BTreeMap<String, Digest>,
}

/// `$XDG_CONFIG_HOME/filial/credentials.json`, or below `~/.config`.
pub(crate) fn path(global: &Global) -> Option<PathBuf> {
    let config = match (&global.config_home, &global.home) {
        (Some(config), _) => Some(config.clone()),
        (_, Some(home)) => Some(home.join(".config")),
        _ => None,
    };
    config.map(|config| config.join("filial/credentials.json"))
}

/// How a server is called in the file.
fn key(server: &str) -> &str {
    server.trim_end_matches('/')
}

fn read(path: &Path) -> Result<Credentials, Failure> {
    let bytes = match std::fs::metadata(path).map(|m| m.len()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Credentials::default()),
        Ok(length) if length > MAX_FILE => Vec::new(),
        _ => std::fs::read(path).map_err(Failure::read(path))?,
    };
    serde_json::from_slice(&bytes).map_err(|_| {
        Failure::said(format!("{} is not what filial login wrote", path.display()), "Remove it and log in again.")
    })
}

/// The token of the log-in at the server that the options name.
pub(crate) fn token(global: &Global) -> Result<Option<Secret>, Failure> {
    let Some(path) = path(global) else { return Ok(None) };
    Ok(read(&path)?.servers.remove(key(&global.server)).map(|login| Secret::new(login.token)))
}

/// The fingerprint of the authority by which the server that the options name is known.
pub(crate) fn authority(global: &Global) -> Result<Option<Digest>, Failure> {
    let Some(path) = path(global) else { return Ok(None) };
    Ok(read(&path)?.authorities.remove(key(&global.server)))
}

/// Keeps a log-in and by what its server is known, and tells where.
pub(crate) fn keep(global: &Global, login: Login, authority: Option<Digest>) -> Result<PathBuf, Failure> {
    let path = path(global).ok_or_else(|| {
        Failure::said("There is no place to keep the log-in", "Set HOME or XDG_CONFIG_HOME, or use --token-file.")
    })?;
    let mut all = read(&path)?;
    all.servers.insert(key(&global.server).to_owned(), login);
    all.authorities.extend(authority.map(|authority| (key(&global.server).to_owned(), authority)));
    write(&path, &all)?;
    Ok(path)
}

/// Forgets the log-in at the server; false if there was none.
pub(crate) fn forget(global: &Global) -> Result<bool, Failure> {
    let Some(path) = path(global) else { return Ok(false) };
    let mut all = read(&path)?;
    let was_there = all.servers.remove(key(&global.server)).is_some();
    if was_there {
        write(&path, &all)?;
    }
    Ok(was_there)
}

fn write(path: &Path, all: &Credentials) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        let failed = |source| Failure::Write { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    Ok(write_secret_file(path, &serde_json::to_vec_pretty(all).map_err(Failure::Json)?)?)
}
