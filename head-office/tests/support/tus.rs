//! A tus client of a few lines, which can be cut off.

use std::net::SocketAddr;

use reqwest::{Method, RequestBuilder, Response};
use service_kit::client::JsonClient;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

pub fn request(client: &JsonClient, method: Method, path: &str) -> RequestBuilder {
    client.request(method, path).header("Tus-Resumable", "1.0.0")
}

pub async fn create(client: &JsonClient, length: usize) -> Uuid {
    let answer = request(client, Method::POST, "/v1/uploads")
        .header("Upload-Length", length)
        .header("Upload-Metadata", "filename a2lvc2sudXBk")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str().unwrap();
    location.strip_prefix("/v1/uploads/").unwrap().parse().unwrap()
}

pub async fn patch(client: &JsonClient, id: Uuid, offset: u64, bytes: &[u8]) -> Response {
    request(client, Method::PATCH, &format!("/v1/uploads/{id}"))
        .header("Upload-Offset", offset)
        .header("Content-Type", "application/offset+octet-stream")
        .body(bytes.to_vec())
        .send()
        .await
        .unwrap()
}

pub async fn offset(client: &JsonClient, id: Uuid) -> u64 {
    let answer = request(client, Method::HEAD, &format!("/v1/uploads/{id}")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
}

/// Uploads all of it at once.
pub async fn upload(client: &JsonClient, bytes: &[u8]) -> Uuid {
    let id = create(client, bytes.len()).await;
    assert_eq!(patch(client, id, 0, bytes).await.status(), 204);
    id
}

/// Begins a chunk that announces all of `bytes` and sends only `sent` of them; the connection stays open.
pub async fn half_sent(
    address: SocketAddr,
    token: &str,
    id: Uuid,
    offset: u64,
    bytes: &[u8],
    sent: usize,
) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "PATCH /v1/uploads/{id} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nTus-Resumable: 1.0.0\r\n\
         Upload-Offset: {offset}\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&bytes[..sent]).await.unwrap();
    stream.flush().await.unwrap();
    stream
}
