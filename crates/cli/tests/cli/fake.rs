//! A fake head office: canned answers, and tus uploads whose link drops on request.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

pub const ID: &str = "7f2c1a52-0000-4000-8000-000000000001";

#[derive(Default)]
pub struct State {
    /// What has arrived.
    pub received: Vec<u8>,
    /// Each request, as `METHOD PATH`.
    pub requests: Vec<String>,
    /// Each request's headers, in lower case.
    pub seen: Vec<BTreeMap<String, String>>,
    /// The headers of the last request, in lower case.
    pub headers: BTreeMap<String, String>,
    /// The link drops after so many bytes of a chunk, as long as numbers are left.
    pub drops: Vec<usize>,
    /// Uploads begun here are forgotten.
    pub forgetful: bool,
    /// Uploads begun here were cancelled.
    pub cancelled: bool,
    /// They are cancelled within the next chunk.
    pub cancel_next: bool,
    /// Answers by `METHOD PATH`; each once, the last for ever. Status 0 drops the link without an answer.
    pub answers: BTreeMap<String, Vec<(u16, Value)>>,
    /// Files, byte for byte, by their path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The body of the last request that was not a chunk.
    pub body: String,
}

pub struct Fake {
    pub url: String,
    pub state: Arc<Mutex<State>>,
}

impl Fake {
    pub fn start(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || while serve(&stream, &shared).is_some() {});
            }
        });
        Self { url, state }
    }

    pub fn answering(answers: &[(&str, u16, Value)]) -> Self {
        let mut state = State::default();
        for (request, status, body) in answers {
            state.answers.entry((*request).to_owned()).or_default().push((*status, body.clone()));
        }
        Self::start(state)
    }
}

/// One request of a connection; `None` closes it.
fn serve(stream: &TcpStream, shared: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |l| l.parse().unwrap());
    let mut state = shared.lock().unwrap();
    state.requests.push(format!("{method} {path}"));
    state.seen.push(headers.clone());
    state.headers = headers;
    if let Some(bytes) = state.files.get(&path) {
        let mut out = stream;
        write!(out, "HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", bytes.len()).ok()?;
        return out.write_all(bytes).ok();
    }
    let tus = path == format!("/v1/uploads/{ID}");
    let (status, extra, body) = match method.as_str() {
        "POST" if path == "/v1/uploads" => {
            (state.forgetful, state.cancelled) = (false, false);
            (201, format!("Location: /v1/uploads/{ID}\r\n"), String::new())
        }
        "HEAD" if tus && state.forgetful => (404, String::new(), String::new()),
        "HEAD" if tus && state.cancelled => (410, String::new(), String::new()),
        "HEAD" if tus => (200, format!("Upload-Offset: {}\r\n", state.received.len()), String::new()),
        "PATCH" if tus => {
            assert_eq!(state.headers["content-type"], "application/offset+octet-stream");
            assert_eq!(state.headers["upload-offset"], state.received.len().to_string());
            let drop_after = if state.drops.is_empty() { None } else { Some(state.drops.remove(0)) };
            let mut chunk = vec![0; drop_after.unwrap_or(length).min(length)];
            reader.read_exact(&mut chunk).ok()?;
            if state.cancel_next {
                (state.cancelled, state.cancel_next) = (true, false);
                let problem = wire::Problem::new(wire::Code::UploadGone, "Cancelled by ann.", "Begin anew.");
                let body = serde_json::to_string(&problem).unwrap();
                let mut out = stream;
                return write!(out, "HTTP/1.1 410 X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok();
            }
            state.received.extend(chunk);
            if drop_after.is_some() {
                return None;
            }
            (204, format!("Upload-Offset: {}\r\n", state.received.len()), String::new())
        }
        _ => {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            state.body = String::from_utf8(body).unwrap();
            let (status, json) = match state.answers.get_mut(&format!("{method} {path}")) {
                Some(queue) if queue.len() > 1 => queue.remove(0),
                Some(queue) => queue[0].clone(),
                // What was asked for by its version is not there yet.
                None if path.starts_with("/v1/releases?product=") => (200, serde_json::json!([])),
                None => (404, serde_json::json!({})),
            };
            if status == 0 {
                return None;
            }
            let cookie = json["set_cookie"].as_str().map(|c| format!("Set-Cookie: {c}\r\n")).unwrap_or_default();
            (status, cookie, if status == 204 { String::new() } else { json.to_string() })
        }
    };
    // A 204 has no body (RFC 9110, 15.3.5): what is sent of one is taken for the next answer.
    let body = if status == 204 { String::new() } else { body };
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let mut out = stream;
    write!(out, "HTTP/1.1 {status} X\r\n{extra}{length}\r\n{body}").ok()
}
