//! The credentials file of `filial login`: each server's token and authority, readable by its owner only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use fleet_types::{Digest, OperatorName};
use serde::{Deserialize, Serialize};
use service_kit::Secret;
use service_kit::config::check_private;
use uuid::Uuid;

use crate::args::Global;
use crate::failure::Failure;
use crate::files::{can_create, save_secret};

/// The file's name.
const FILE: &str = "credentials.json";
/// Longest accepted file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A stored login.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Login {
    /// The operator.
    pub(crate) operator: OperatorName,
    /// The token's id.
    pub(crate) id: Uuid,
    /// The token.
    pub(crate) token: String,
    /// When the token expires.
    pub(crate) expires: DateTime<Utc>,
}

/// All logins, by server.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Credentials {
    #[serde(default)]
    servers: BTreeMap<String, Login>,
    /// Each server's authority. Not a secret; kept after logout.
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
    config.map(|config| config.join("filial").join(FILE))
}

/// A server's key in the file.
fn key(server: &str) -> &str {
    server.trim_end_matches('/')
}

fn read(path: &Path) -> Result<Credentials, Failure> {
    let bytes = match std::fs::metadata(path).map(|m| m.len()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Credentials::default()),
        Ok(length) if length > MAX_FILE => Vec::new(),
        _ => {
            let mut file = File::open(path).map_err(Failure::read(path))?;
            check_private(path, &file)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(Failure::read(path))?;
            bytes
        }
    };
    serde_json::from_slice(&bytes).map_err(|_| {
        Failure::said(
            format!("{} is damaged or was not written by `filial login`", path.display()),
            "Delete it and log in again.",
        )
    })
}

/// The stored token for the server that the options name.
pub(crate) fn token(global: &Global) -> Result<Option<Secret>, Failure> {
    let Some(path) = path(global) else { return Ok(None) };
    Ok(read(&path)?.servers.remove(key(&global.server)).map(|login| Secret::new(login.token)))
}

/// The stored authority's fingerprint for the server that the options name.
pub(crate) fn authority(global: &Global) -> Result<Option<Digest>, Failure> {
    let Some(path) = path(global) else { return Ok(None) };
    Ok(read(&path)?.authorities.remove(key(&global.server)))
}

/// Stores a login and its server's authority; returns the file's path.
pub(crate) fn keep(global: &Global, login: Login, authority: Option<Digest>) -> Result<PathBuf, Failure> {
    let path = must_have_path(global)?;
    let mut all = read(&path)?;
    all.servers.insert(key(&global.server).to_owned(), login);
    all.authorities.extend(authority.map(|authority| (key(&global.server).to_owned(), authority)));
    write(&path, &all)?;
    Ok(path)
}

/// Deletes the login at the server; false if there was none.
pub(crate) fn forget(global: &Global) -> Result<bool, Failure> {
    let Some(path) = path(global) else { return Ok(false) };
    let mut all = read(&path)?;
    let was_there = all.servers.remove(key(&global.server)).is_some();
    if was_there {
        write(&path, &all)?;
    }
    Ok(was_there)
}

/// Refuses a login that could not be stored, before head office issues a token.
pub(crate) fn can_keep(global: &Global) -> Result<(), Failure> {
    let path = must_have_path(global)?;
    read(&path)?;
    // Its folders are created with it: a refused login leaves nothing.
    let there = path.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    can_create(&there.join(FILE))
}

fn must_have_path(global: &Global) -> Result<PathBuf, Failure> {
    path(global).ok_or_else(|| {
        Failure::said(
            "The login cannot be stored: neither HOME nor XDG_CONFIG_HOME is set",
            "Set one of them, or use --token-file.",
        )
    })
}

fn write(path: &Path, all: &Credentials) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        let failed = |source| Failure::Write { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    save_secret(path, &serde_json::to_vec_pretty(all).map_err(Failure::Json)?)
}
