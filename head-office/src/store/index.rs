//! Indexes of artifacts, out of their files.

use std::fs::File;
use std::io::{self, Read};

use wire::v1::plan::ArtifactRef;

use super::folders::Store;

/// Returns an artifact's index: its header and segment table, the first bytes of its file.
///
/// None if the artifact is on its way out.
///
/// # Errors
/// The file cannot be read, or is cut short.
pub async fn read(store: &Store, artifact: &ArtifactRef) -> io::Result<Option<Vec<u8>>> {
    let (path, length) = (store.artifact(artifact), artifact.index_length);
    let Some(reader) = store.holds().read(&artifact.sha256) else { return Ok(None) };
    let read = move || {
        // Held until the file is read.
        let _reader = reader;
        let mut bytes = Vec::new();
        File::open(&path)?.take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length {
            Ok(Some(bytes))
        } else {
            Err(io::Error::other(format!("{} is cut short", path.display())))
        }
    };
    tokio::task::spawn_blocking(read).await?
}
