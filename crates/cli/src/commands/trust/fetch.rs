//! `filial trust fetch`: the metadata in force, verified as every machine does it.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use futures_util::stream;
use serde_json::json;
use service_kit::client::{ClientError, JsonClient};
use trust::client::{Body, Client, Fetch, FetchError, Limits};
use trust::repository::{MAX_ROOT, MAX_TARGETS, Repository, store};
use wire::Code;
use wire::v1::paths;

use super::now;
use crate::args::Global;
use crate::failure::Failure;
use crate::output::answer;
use crate::server::{block_on, connect};

/// What is remembered of earlier fetches.
const MEMORY: &str = "trust.json";

pub(super) fn run(global: &Global, folder: &Path, root: &Path) -> Result<(), Failure> {
    let mut pinned = Vec::new();
    let file = std::fs::File::open(root).map_err(Failure::read(root))?;
    file.take(MAX_ROOT).read_to_end(&mut pinned).map_err(Failure::read(root))?;
    let (metadata, memory) = (folder.join("metadata"), folder.join(MEMORY));
    std::fs::create_dir_all(&metadata).map_err(|source| Failure::Write { path: metadata.clone(), source })?;
    let mut client = match memory.exists() {
        true => Client::open(&memory)?,
        false => Client::provision(&memory, &pinned, DateTime::UNIX_EPOCH)?,
    };
    let source = Arc::new(HeadOffice(connect(global)?));
    block_on(async { Ok(client.update(source, Limits::default(), now()).await?) })?;
    let repository = Repository::from_files(&client.files())?;
    store::write(&metadata, &repository)?;
    let inspection = repository.inspect()?;
    answer(global.json, &json!({ "folder": folder, "inspection": inspection }), |_| {
        let count = inspection.payloads.len();
        format!("{}: the metadata in force, verified; {count} payload(s) are signed", metadata.display())
    })
}

/// Head office's operators' listener as a mirror: nothing of it is believed before it is verified.
struct HeadOffice(JsonClient);

#[async_trait]
impl Fetch for HeadOffice {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let path = paths::metadata(name);
        match self.0.get_bytes(&path, MAX_TARGETS as usize).await {
            Ok(bytes) => Ok(Some(Box::pin(stream::iter([Ok(bytes)])))),
            Err(ClientError::Refused(problem)) if problem.code == Code::NotFound => Ok(None),
            // Also one that says no more than 404.
            Err(ClientError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(FetchError(error.to_string())),
        }
    }
}
