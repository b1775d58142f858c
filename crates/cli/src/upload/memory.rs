//! Remembers between two calls where at head office an unfinished upload is.

use std::path::{Path, PathBuf};

use fleet_types::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use wire::v1::paths;

use crate::args::Global;
use crate::failure::Failure;
use crate::files::save;

/// The path of an upload at the server that was asked, never at another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    path: String,
}

impl Upload {
    /// Parses a `Location` header or a remembered path.
    ///
    /// Another server's address is refused: it would get our token.
    pub(crate) fn at(location: &str, base_url: &str) -> Result<Self, Failure> {
        let path = location.strip_prefix(base_url).unwrap_or(location);
        let upload = Self { path: path.to_owned() };
        upload.release().map(|_| upload)
    }

    /// The path at the server.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The release made from it, which has the upload's id.
    pub(crate) fn release(&self) -> Result<Uuid, Failure> {
        let id = self.path.strip_prefix(paths::UPLOADS).and_then(|rest| rest.strip_prefix('/'));
        id.and_then(|id| id.parse().ok()).ok_or_else(|| {
            let shown: String = self.path.chars().take(100).collect();
            Failure::said(
                format!("The server answered with {shown:?}, which is not the address of an upload"),
                "Check that --server is the address of head office.",
            )
        })
    }
}

/// The file that remembers one upload; none without a home directory.
#[derive(Debug)]
pub(crate) struct Memory {
    file: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    length: u64,
    upload: String,
}

impl Memory {
    /// The memory of this archive at this server.
    ///
    /// `$XDG_STATE_HOME/filial/uploads`, or below `~/.local/state`.
    pub(crate) fn of(global: &Global, server: &str, archive: &Digest) -> Self {
        let state = match (&global.state_home, &global.home) {
            (Some(state), _) if state.is_absolute() => Some(state.clone()),
            (_, Some(home)) => Some(home.join(".local/state")),
            _ => None,
        };
        let key = Digest::new(Sha256::digest(format!("{server}\n{archive}")).into());
        Self { file: state.map(|s| s.join("filial/uploads").join(format!("{key}.json"))) }
    }

    /// The remembered upload. An unreadable file counts as none: the upload starts again.
    pub(crate) fn recall(&self, length: u64) -> Option<Upload> {
        let bytes = std::fs::read(self.file.as_ref()?).ok()?;
        let found: Remembered = serde_json::from_slice(&bytes).ok()?;
        let upload = Upload::at(&found.upload, "").ok()?;
        (found.length == length).then_some(upload)
    }

    /// Remembers a new upload.
    pub(crate) fn keep(&self, upload: &Upload, length: u64) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        let folder = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|source| Failure::Write { path: folder.to_owned(), source })?;
        let remembered = Remembered { length, upload: upload.path.clone() };
        save(file, &serde_json::to_vec(&remembered).map_err(Failure::Json)?)
    }

    /// Forgets it: it is complete, or head office no longer has it.
    pub(crate) fn forget(&self) {
        if let Some(file) = &self.file {
            // A file left behind is harmless: the next call asks head office first.
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7f2c1a52-0000-4000-8000-000000000001";

    #[test]
    fn only_places_at_the_same_server_are_uploads() {
        let base = "http://a:1";
        for good in [format!("/v1/uploads/{ID}"), format!("http://a:1/v1/uploads/{ID}")] {
            assert_eq!(Upload::at(&good, base).unwrap().release().unwrap().to_string(), ID);
        }
        for bad in
            [format!("http://evil:1/v1/uploads/{ID}"), "/v1/uploads/../x".into(), format!("/v1/x/{ID}"), "".into()]
        {
            assert!(Upload::at(&bad, base).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_upload_is_remembered_for_its_archive_and_server_only() {
        let dir = tempfile::tempdir().unwrap();
        let global = Global {
            authority: None,
            at: None,
            server: String::new(),
            token_file: None,
            json: false,
            state_home: Some(dir.path().to_owned()),
            config_home: None,
            home: None,
        };
        let (one, two) = (Digest::new([1; 32]), Digest::new([2; 32]));
        let memory = Memory::of(&global, "http://a:1", &one);
        assert_eq!(memory.recall(5), None);
        let upload = Upload::at(&format!("/v1/uploads/{ID}"), "http://a:1").unwrap();
        memory.keep(&upload, 5).unwrap();
        assert_eq!(memory.recall(5), Some(upload));
        assert_eq!(memory.recall(6), None);
        assert_eq!(Memory::of(&global, "http://b:1", &one).recall(5), None);
        assert_eq!(Memory::of(&global, "http://a:1", &two).recall(5), None);
        memory.forget();
        assert_eq!(memory.recall(5), None);
    }

    #[test]
    fn without_a_home_nothing_is_remembered_and_nothing_fails() {
        let memory = Memory { file: None };
        let upload = Upload::at(&format!("/v1/uploads/{ID}"), "").unwrap();
        memory.keep(&upload, 5).unwrap();
        assert_eq!(memory.recall(5), None);
    }
}
