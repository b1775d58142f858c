//! `filial trust fetch`: fetches the current metadata and verifies it as every machine does.

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

use super::files::now;
use crate::args::Global;
use crate::failure::Failure;
use crate::files::read_bounded;
use crate::output::answer;
use crate::server::{block_on, connect};

/// The file that remembers earlier fetches.
const MEMORY: &str = "trust.json";

pub(super) fn run(global: &Global, folder: &Path, root: &Path) -> Result<(), Failure> {
    let pinned = read_bounded(root, MAX_ROOT)?;
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
        format!("{}: current metadata fetched and verified; signed payloads: {count}", metadata.display())
    })
}

/// Head office's operators' listener as an untrusted mirror.
struct HeadOffice(JsonClient);

#[async_trait]
impl Fetch for HeadOffice {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let path = paths::metadata(name);
        match self.0.get_bytes(&path, MAX_TARGETS as usize).await {
            Ok(bytes) => Ok(Some(Box::pin(stream::iter([Ok(bytes)])))),
            Err(ClientError::Refused(problem)) if matches!(problem.code, Code::NotFound | Code::RouteMissing) => {
                Ok(None)
            }
            // Also a bare 404.
            Err(ClientError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(FetchError(error.to_string())),
        }
    }
}
