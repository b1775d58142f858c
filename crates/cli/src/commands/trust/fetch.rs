//! `filial trust fetch`: fetches the current metadata and verifies it as every machine does.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream;
use serde_json::json;
use service_kit::client::{ClientError, JsonClient};
use trust::client::{Body, Client, Fetch, FetchError, Limits};
use trust::repository::{Inspection, MAX_ROOT, MAX_TARGETS, Repository, store};
use trust::{Refusal, Why};
use wire::Code;
use wire::v1::paths;

use super::files::now;
use crate::args::Global;
use crate::failure::Failure;
use crate::files::read_bounded;
use crate::output::answer;
use crate::server::{block_on, connect};

/// The file that remembers earlier fetches.
const MEMORY: &str = "trust.json";

/// The folder that is written.
struct Place {
    folder: PathBuf,
    metadata: PathBuf,
    memory: PathBuf,
}

pub(super) fn run(global: &Global, folder: &Path, root: &Path) -> Result<(), Failure> {
    let pinned = read_bounded(root, MAX_ROOT)?;
    let server = connect(global)?;
    let place = Place { folder: folder.to_owned(), metadata: folder.join("metadata"), memory: folder.join(MEMORY) };
    let (is_first, is_new) = (!place.memory.exists(), !folder.exists());
    if is_first {
        place.check_free()?;
    }
    let create = std::fs::create_dir_all(&place.metadata);
    create.map_err(|source| Failure::Write { path: place.metadata.clone(), source })?;
    let fetched = fetch(server, &place, root, &pinned);
    if is_first && fetched.is_err() {
        place.clear(is_new);
    }
    let inspection = fetched?;
    answer(global.json, &json!({ "folder": folder, "inspection": inspection }), |_| {
        let count = inspection.payloads.len();
        format!("{}: current metadata fetched and verified; signed payloads: {count}", place.metadata.display())
    })
}

impl Place {
    /// Refuses a folder that is used for something else.
    fn check_free(&self) -> Result<(), Failure> {
        let is_used = std::fs::read_dir(&self.folder).is_ok_and(|mut entries| entries.next().is_some());
        if !is_used || super::files::metadata(&self.folder).join("1.root.json").is_file() {
            return Ok(());
        }
        let sentence = format!("{} is not empty and holds no metadata", self.folder.display());
        Err(Failure::said(sentence, "Give an empty or new folder."))
    }

    /// Removes what a failed first fetch left, so that another root file can be given.
    fn clear(&self, is_new: bool) {
        let _ = std::fs::remove_file(&self.memory);
        // Folders that hold anything stay.
        let _ = std::fs::remove_dir(&self.metadata);
        if is_new {
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

fn fetch(server: JsonClient, place: &Place, root: &Path, pinned: &[u8]) -> Result<Inspection, Failure> {
    let mut client = Client::open_or_provision(&place.memory, root)?;
    let office = Arc::new(HeadOffice { server, lost: Mutex::new(None) });
    let updated = block_on(async { Ok(client.update(office.clone(), Limits::default(), now()).await) })?;
    updated.map_err(|refusal| office.why(refusal))?;
    // After the update: it may be a root that the folder had not seen yet.
    let known = client.knows_root(pinned).map_err(|refusal| {
        let sentence = format!("{} is not a root.json: {}", root.display(), refusal.sentence());
        Failure::said(sentence, "Give the root.json that `filial trust init` made.")
    })?;
    if !known {
        let sentence =
            format!("{} belongs to another fleet than the metadata in {}", root.display(), place.folder.display());
        return Err(Failure::said(sentence, "Give the root.json of that fleet, or a new folder."));
    }
    let repository = Repository::from_files(&client.files())?;
    store::write(&place.metadata, &repository)?;
    Ok(repository.inspect()?)
}

/// Head office's operators' listener as an untrusted mirror.
struct HeadOffice {
    server: JsonClient,
    /// Why the last file could not be asked for.
    lost: Mutex<Option<ClientError>>,
}

impl HeadOffice {
    /// Says why an update failed: in the words of every command if head office did not answer.
    fn why(&self, refusal: Refusal) -> Failure {
        match self.lost.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) if refusal.why() == Why::Unfetchable => error.into(),
            _ => refusal.into(),
        }
    }
}

#[async_trait]
impl Fetch for HeadOffice {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let path = paths::metadata(name);
        match self.server.get_bytes(&path, MAX_TARGETS as usize).await {
            Ok(bytes) => Ok(Some(Box::pin(stream::iter([Ok(bytes)])))),
            Err(ClientError::Refused(problem)) if matches!(problem.code, Code::NotFound | Code::RouteMissing) => {
                Ok(None)
            }
            // Also a bare 404.
            Err(ClientError::Status { status: 404, .. }) => Ok(None),
            Err(error) => {
                let told = FetchError(error.to_string());
                *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(told)
            }
        }
    }
}
