//! Whom the command line believes to be head office.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use chrono::DateTime;
use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};
use service_kit::{Clock as _, SystemClock};
use trust::certificates::{Authority, FleetTime, Suffix, TlsKey, certificate_to_pem, fingerprint, people_config};

use super::fake::ID;
use super::kit::{code, filial, put, stderr};

/// Head office, as far as a log-in and a list of branches go, over TLS.
struct Office {
    url: String,
    /// Its authority's certificate in PEM.
    authority: String,
    fingerprint: String,
}

impl Office {
    fn start() -> Self {
        let now = SystemClock.now();
        let authority = Authority::begin(Suffix::default(), TlsKey::generate().unwrap(), now).unwrap();
        let key = TlsKey::generate().unwrap();
        let chain = authority.issue_own(&key.request().unwrap(), now).unwrap();
        let root = authority.chain()[0].clone();
        let time = FleetTime::new(Arc::new(SystemClock), DateTime::UNIX_EPOCH);
        let config = Arc::new(people_config((chain, &key), root.clone(), None, time).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = ServerConnection::new(config.clone()).unwrap();
                // A client that does not trust us hangs up.
                let _ = serve(StreamOwned::new(connection, stream));
            }
        });
        Self { url, authority: certificate_to_pem(&root), fingerprint: fingerprint(&root).to_string() }
    }

    fn list(&self, folder: &Path, more: &[&str]) -> std::process::Output {
        filial(folder, &[&["--server", &self.url, "branch", "list"], more].concat())
    }
}

fn serve(mut stream: StreamOwned<ServerConnection, std::net::TcpStream>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|l| l.split("\r\n").next()?.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)])?;
    let session = json!({ "name": "ann", "role": "operator", "csrf_token": "c5rf", "expires": "2031-05-06T19:08:09Z" });
    let made = json!({ "token": "filial-0123", "kept": { "id": ID, "operator": "ann", "name": "filial login",
        "role": "operator", "made": "2031-05-06T07:08:09Z", "expires": "2031-05-07T07:08:09Z" } });
    let body: Value = match head.split_whitespace().take(2).collect::<Vec<_>>()[..] {
        ["post", "/v1/session"] => session,
        ["post", "/v1/tokens"] => made,
        _ => json!([]),
    };
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 200 X\r\nSet-Cookie: __Host-x=s3ss; Secure\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}

#[test]
fn head_office_must_prove_its_authority() {
    let (office, other, dir) = (Office::start(), Office::start(), tempfile::tempdir().unwrap());
    put(&dir.path().join("authority.pem"), office.authority.as_bytes());
    let output = office.list(dir.path(), &[]);
    let text = stderr(&output);
    assert!(code(&output) == 1 && text.contains("head-office authority") && text.contains("--authority"), "{text}");
    for good in [&*office.fingerprint, "authority.pem"] {
        let output = office.list(dir.path(), &["--authority", good]);
        assert_eq!(code(&output), 0, "{good}: {}", stderr(&output));
    }
    let output = office.list(dir.path(), &["--authority", &other.fingerprint]);
    let text = stderr(&output);
    assert!(code(&output) == 1 && text.contains("did not present the pinned authority"), "{text}");
    for bad in ["none.pem", "0123", &"a".repeat(63)] {
        let output = office.list(dir.path(), &["--authority", bad]);
        let says = format!("{bad} is neither a fingerprint (64 hexadecimal digits) nor a file");
        let text = stderr(&output);
        assert!(code(&output) == 1 && text.contains(&says) && text.contains("`head-office authority`"), "{text}");
    }
    let output = office.list(dir.path(), &["--authority", &office.fingerprint, "--at", "north"]);
    let (text, says) = (stderr(&output), format!("filial: {} is head office, not branch north\n", office.url));
    assert!(code(&output) == 1 && text.contains(&says) && text.contains("that branch's server"), "{text}");
}

#[test]
fn a_login_pins_the_authority_beyond_logout() {
    let (office, dir) = (Office::start(), tempfile::tempdir().unwrap());
    put(&dir.path().join("password"), b"correct horse battery staple");
    let at = |args: &[&str]| filial(dir.path(), &[&["--server", &office.url], args].concat());
    let output = at(&["login", "ann", "--password-file", "password", "--authority", &office.fingerprint]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(code(&at(&["branch", "list"])), 0);
    assert_eq!(code(&at(&["logout"])), 0);
    assert_eq!(code(&at(&["branch", "list"])), 0, "who it is stays known");
    // Another one in its place is not believed, whatever was kept.
    let kept = dir.path().join("config/filial/credentials.json");
    let text = std::fs::read_to_string(&kept).unwrap();
    put(&kept, text.replace(&office.fingerprint, &"7".repeat(64)).as_bytes());
    let output = at(&["branch", "list"]);
    assert!(code(&output) == 1 && stderr(&output).contains("is not trusted"), "{}", stderr(&output));
}

#[test]
fn plain_http_is_refused_to_other_machines() {
    let dir = tempfile::tempdir().unwrap();
    for url in ["http://10.255.255.1:7001", "http://head-office.example:7001", "http://127.0.0.1.example:7001"] {
        let output = filial(dir.path(), &["--server", url, "branch", "list"]);
        let text = stderr(&output);
        assert!(
            code(&output) == 1 && text.contains("plain HTTP is not allowed") && text.contains("https://"),
            "{text}"
        );
    }
}
