//! The four requests of tus 1.0 (tus.io, core protocol, creation and termination).

use std::io::SeekFrom;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt as _;
use indicatif::ProgressBar;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, Response};
use service_kit::client::{ClientError, JsonClient};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use wire::Code;
use wire::v1::paths;

use crate::failure::Failure;

use super::memory::Upload;

const RESUMABLE: &str = "Tus-Resumable";
const VERSION: &str = "1.0.0";
const OFFSET: &str = "Upload-Offset";

/// Creates an upload.
pub(crate) async fn create(server: &JsonClient, length: u64, name: &str) -> Result<Upload, Failure> {
    let request = server
        .request(Method::POST, paths::UPLOADS)
        .header(RESUMABLE, VERSION)
        .header("Upload-Length", length)
        .header("Upload-Metadata", format!("filename {}", STANDARD.encode(name)))
        .header(CONTENT_LENGTH, 0);
    let response = server.send(request, paths::UPLOADS).await?;
    let location = response.headers().get(LOCATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    Upload::at(location, server.base_url())
}

/// Returns how many bytes head office holds durably.
pub(crate) async fn offset(server: &JsonClient, upload: &Upload) -> Result<u64, ClientError> {
    let request = server.request(Method::HEAD, upload.path()).header(RESUMABLE, VERSION);
    let response = server.send(request, upload.path()).await?;
    offset_of(&response)
}

/// Cancels an upload.
pub(crate) async fn terminate(server: &JsonClient, upload: &Upload) -> Result<(), ClientError> {
    let request = server.request(Method::DELETE, upload.path()).header(RESUMABLE, VERSION);
    server.send(request, upload.path()).await.map(drop)
}

/// Sends `length` bytes of the file `path` from `offset`; returns the offset after them.
pub(crate) async fn patch(
    server: &JsonClient,
    upload: &Upload,
    path: &Path,
    (offset, length): (u64, u64),
    bar: &ProgressBar,
) -> Result<u64, Failure> {
    // Opened for each chunk: an abandoned chunk's read may still be running and would move a shared file's position.
    let mut file = File::open(path).await.map_err(Failure::read(path))?;
    file.seek(SeekFrom::Start(offset)).await.map_err(Failure::read(path))?;
    let bar = bar.clone();
    let stream =
        ReaderStream::with_capacity(file.take(length), 64 * 1024).inspect_ok(move |bytes| bar.inc(bytes.len() as u64));
    let request = server
        .request(Method::PATCH, upload.path())
        .header(RESUMABLE, VERSION)
        .header(OFFSET, offset)
        .header(CONTENT_TYPE, "application/offset+octet-stream")
        .header(CONTENT_LENGTH, length)
        .body(Body::wrap_stream(stream));
    let response = server.send(request, upload.path()).await?;
    match offset_of(&response)? {
        // Retrying would loop for ever.
        same if same <= offset => Err(Failure::said(
            "Head office accepted a chunk but stored none of it",
            "Check head office's log and its free disk space.",
        )),
        further => Ok(further),
    }
}

fn offset_of(response: &Response) -> Result<u64, ClientError> {
    let offset = response.headers().get(OFFSET).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    // A proxy that drops the header, or not head office: treated as an answer without a reason.
    offset.ok_or_else(|| ClientError::Status { url: response.url().to_string(), status: response.status().as_u16() })
}

fn status(error: &ClientError) -> Option<u16> {
    match error {
        ClientError::Refused(problem) => Some(problem.status),
        ClientError::Status { status, .. } => Some(*status),
        _ => None,
    }
}

/// Whether head office does not have this upload, or no longer.
pub(crate) fn is_gone(error: &ClientError) -> bool {
    matches!(status(error), Some(404 | 410))
}

/// Whether to ask for the offset and resume from there.
pub(crate) fn is_worth_retrying(error: &ClientError) -> bool {
    // A full disk does not empty itself while we wait.
    error.code() != Some(Code::DiskFull) && (error.is_transient() || status(error) == Some(409))
}
