//! The engine against a real transmission-daemon, on loopback.

use std::fs;
use std::path::Path;
use std::time::Duration;

use swarm::torrent::{branch_tiers, lan_tiers};
use swarm::{
    Engine, EngineError, EngineRole, Limits, SettingsError, Torrent, TransmissionEngine, TransmissionSettings, create,
    write_daemon_settings,
};

use crate::support::{self, Daemon, content, free_port, until};

// Unroutable within the test: what matters is what the daemon makes of the file.
const LAN: &str = "http://127.0.0.1:9/announce";
const WAN: &str = "http://127.0.0.1:1/announce";

fn make(path: &Path, name: &str, bytes: &[u8]) -> Torrent {
    fs::write(path, bytes).unwrap();
    create(path, name, Some(16 * 1024), &mut |_| {}).unwrap().torrent
}

fn engine_at(url: String, timeout: Duration) -> TransmissionEngine {
    let settings = TransmissionSettings { url, user: "filial".into(), password: "x".into(), timeout };
    TransmissionEngine::new(settings).unwrap()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(&format!(": {error}"));
        next = error.source();
    }
    text
}

#[tokio::test]
async fn content_that_is_there_is_verified_kept_and_reported_piece_by_piece() {
    let daemon = Daemon::on_loopback(EngineRole::Branch);
    // 100 pieces and a short one: the bitfield has whole bytes of ones, whose base64 has slashes.
    let bytes = content(100 * 16 * 1024 + 1000, 1);
    let torrent = make(&daemon.content_dir().join("whole.seg"), "whole.seg", &bytes);
    let mut broken = bytes.clone();
    broken[40 * 16 * 1024] ^= 1;
    let partial_torrent = make(&daemon.content_dir().join("partial.seg"), "partial.seg", &bytes);
    fs::write(daemon.content_dir().join("partial.seg"), &broken).unwrap();
    let engine = daemon.ready().await;
    assert!(engine.info().await.unwrap().version.starts_with(|c: char| c.is_ascii_digit()));

    let hash = engine.add(&torrent.to_file(&lan_tiers(LAN)), daemon.content_dir()).await.unwrap();
    assert_eq!(hash, torrent.info_hash());
    // Once verified, the daemon starts it in a separate step.
    let serves = || async { engine.status(&hash).await.unwrap().filter(|s| s.complete && s.running) };
    let status = until("it is verified and started", serves).await;
    assert_eq!((status.have_bytes, status.total_bytes), (bytes.len() as u64, bytes.len() as u64));
    assert!(!status.verifying);
    let pieces = engine.pieces(&hash).await.unwrap().unwrap();
    assert!(pieces.is_complete() && pieces.count() == 101);

    let partial = engine.add(&partial_torrent.to_file(&lan_tiers(LAN)), daemon.content_dir()).await.unwrap();
    let checked = || async { engine.status(&partial).await.unwrap().filter(|s| !s.verifying && s.have_bytes > 0) };
    let status = until("the other is verified", checked).await;
    assert!(!status.complete);
    assert_eq!(status.have_bytes, bytes.len() as u64 - 16 * 1024);
    let pieces = engine.pieces(&partial).await.unwrap().unwrap();
    assert_eq!(pieces.held(), 100);
    assert!(pieces.has_range(0, 40 * 16 * 1024) && !pieces.has_range(40 * 16 * 1024 - 1, 2));
    assert!(pieces.has_range(41 * 16 * 1024, 59 * 16 * 1024 + 1000));

    let mut both = vec![hash, partial];
    both.sort();
    assert_eq!(engine.list().await.unwrap(), both);
    assert!(engine.peers(&hash).await.unwrap().is_empty());

    engine.remove(&hash, false).await.unwrap();
    engine.remove(&partial, true).await.unwrap();
    assert_eq!(engine.list().await.unwrap(), vec![]);
    assert_eq!(engine.status(&hash).await.unwrap(), None);
    assert_eq!(engine.pieces(&hash).await.unwrap(), None);
    assert!(daemon.content_dir().join("whole.seg").exists());
    until("the data is deleted", || async { (!daemon.content_dir().join("partial.seg").exists()).then_some(()) }).await;
    engine.remove(&hash, true).await.unwrap();
}

#[test]
fn transmission_reads_our_torrent_files_as_we_do() {
    let dir = support::open_dir();
    let torrent = make(&dir.path().join("a.seg"), "a.seg", &content(100_000, 5));
    let path = dir.path().join("a.torrent");
    for tiers in [vec![], lan_tiers(LAN), branch_tiers(WAN, LAN)] {
        fs::write(&path, torrent.to_file(&tiers)).unwrap();
        let Ok(output) = std::process::Command::new("transmission-show").arg(&path).output() else {
            support::skip("transmission-show is not installed: run `make setup`");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        assert!(text.contains(&format!("Hash: {}", torrent.info_hash())), "{text}");
        assert!(text.contains("Name: a.seg") && text.contains("Private torrent"), "{text}");
        assert!(text.contains("Created on: Unknown") || !text.contains("Created on:"), "{text}");
        assert!(tiers.iter().flatten().all(|tracker| text.contains(tracker.as_str())), "{text}");
    }
}

#[tokio::test]
async fn adding_twice_is_adding_once_and_a_new_folder_or_tracker_is_taken_over() {
    let daemon = Daemon::on_loopback(EngineRole::Branch);
    let other = daemon.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let torrent = make(&daemon.content_dir().join("a.seg"), "a.seg", &content(50_000, 2));
    fs::copy(daemon.content_dir().join("a.seg"), other.join("a.seg")).unwrap();
    let engine = daemon.ready().await;
    let trackers = || async { raw(&daemon, "trackers").await["trackers"].as_array().unwrap().len() };
    let lan = torrent.to_file(&lan_tiers(LAN));
    let hash = engine.add(&lan, daemon.content_dir()).await.unwrap();
    assert_eq!(engine.add(&lan, daemon.content_dir()).await.unwrap(), hash);
    assert_eq!(engine.list().await.unwrap(), vec![hash]);
    assert_eq!(trackers().await, 1);

    let both = torrent.to_file(&branch_tiers(WAN, LAN));
    assert_eq!(engine.add(&both, &other).await.unwrap(), hash);
    assert_eq!(engine.list().await.unwrap(), vec![hash]);
    assert_eq!(trackers().await, 2);
    assert_eq!(raw(&daemon, "downloadDir").await["downloadDir"], other.to_str().unwrap());
    until("verified in its new place", || async {
        engine.status(&hash).await.unwrap().filter(|s| s.complete && s.running)
    })
    .await;

    act(&daemon, "torrent-stop", &hash.to_string()).await;
    until("it is stopped", || async { engine.status(&hash).await.unwrap().filter(|s| !s.running) }).await;
    engine.add(&both, &other).await.unwrap();
    until("adding starts it", || async { engine.status(&hash).await.unwrap().filter(|s| s.running) }).await;

    let error = engine.add(&lan, Path::new("content")).await.unwrap_err();
    assert!(matches!(error, EngineError::Folder { .. }), "{error}");
    assert!(matches!(engine.add(b"d4:infoe", &other).await, Err(EngineError::Torrent(_))));
}

#[tokio::test]
async fn torrent_that_a_peer_lost_is_added_again_and_its_content_kept() {
    let daemon = Daemon::on_loopback(EngineRole::Branch);
    let torrent = make(&daemon.content_dir().join("a.seg"), "a.seg", &content(50_000, 6));
    let file = torrent.to_file(&lan_tiers(LAN));
    let engine = daemon.ready().await;
    let hash = engine.add(&file, daemon.content_dir()).await.unwrap();
    let serves = || async { engine.status(&hash).await.unwrap().filter(|s| s.complete && s.running) };
    until("it is verified", serves).await;
    let added = || async { raw(&daemon, "id").await["id"].as_i64().unwrap() };
    let first = added().await;

    let error = engine.peer_lost_content(&file, Path::new("content")).await.unwrap_err();
    assert!(matches!(error, EngineError::Folder { .. }), "{error}");
    assert_eq!(added().await, first, "a request that cannot be met removes nothing");
    // Twice: a request may be repeated after a kill.
    for _ in 0..2 {
        engine.peer_lost_content(&file, daemon.content_dir()).await.unwrap();
    }
    assert!(added().await > first, "it is a new torrent to the daemon");
    let status = until("it serves again", serves).await;
    assert_eq!((status.have_bytes, status.received_bytes), (50_000, 0));
    assert_eq!(engine.list().await.unwrap(), vec![hash]);
}

#[tokio::test]
async fn announcing_never_leaves_a_torrent_stopped() {
    let daemon = Daemon::on_loopback(EngineRole::Branch);
    let torrent = make(&daemon.content_dir().join("a.seg"), "a.seg", &content(50_000, 3));
    let engine = daemon.ready().await;
    let hash = engine.add(&torrent.to_file(&lan_tiers(LAN)), daemon.content_dir()).await.unwrap();
    until("it is verified", || async { engine.status(&hash).await.unwrap().filter(|s| s.complete && s.running) }).await;
    for _ in 0..3 {
        engine.announce(&hash).await.unwrap();
        assert!(engine.status(&hash).await.unwrap().unwrap().running);
    }
    // A caller that gives up in the middle.
    let _ = tokio::time::timeout(Duration::from_millis(5), engine.announce(&hash)).await;
    until("it runs again", || async { engine.status(&hash).await.unwrap().filter(|s| s.running) }).await;
    let trouble = || async { engine.status(&hash).await.unwrap().and_then(|s| s.trouble) };
    let trouble = until("the unreachable tracker is complained of", trouble).await;
    assert!(trouble.contains(LAN), "{trouble}");

    let unknown = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    assert!(matches!(engine.announce(&unknown).await, Err(EngineError::NotFound { .. })));
    assert!(matches!(engine.verify(&unknown).await, Err(EngineError::NotFound { .. })));
    engine.verify(&hash).await.unwrap();
    until("it is verified again", || async { engine.status(&hash).await.unwrap().filter(|s| s.complete) }).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_apart_and_the_error_names_address_and_remedy() {
    let daemon = Daemon::on_loopback(EngineRole::Terminal);
    daemon.ready().await;
    let engine = daemon.engine_with("wrong", Duration::from_secs(10));
    let error = engine.info().await.unwrap_err();
    assert!(matches!(error, EngineError::Unauthorized { .. }), "{}", chain(&error));
    let text = error.to_string();
    assert!(
        text.contains(&format!("127.0.0.1:{}", daemon.options.rpc_port)) && text.contains("rpc-password"),
        "{text}"
    );
    assert!(!text.contains("wrong"), "the password must not appear: {text}");

    let by_name = engine_at(
        format!("http://127.0.0.1:{}/transmission/nothing-here", daemon.options.rpc_port),
        Duration::from_secs(10),
    );
    assert!(by_name.info().await.is_err());
    // Too many wrong passwords: the daemon then answers 403 to every caller.
    let locked = || async { engine.info().await.err().filter(|e| matches!(e, EngineError::Forbidden { .. })) };
    let error = until("the daemon has had enough", locked).await;
    assert!(error.to_string().contains("restart"), "{error}");
}

#[tokio::test]
async fn an_absent_daemon_and_one_that_never_answers_are_named() {
    let nobody = engine_at(format!("http://127.0.0.1:{}/transmission/rpc", free_port()), Duration::from_secs(5));
    let error = nobody.info().await.unwrap_err();
    assert!(matches!(error, EngineError::Unreachable { .. }), "{}", chain(&error));
    assert!(error.to_string().contains("systemctl start transmission-daemon"), "{error}");

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/transmission/rpc", silent.local_addr().unwrap());
    let error = engine_at(url.clone(), Duration::from_millis(300)).list().await.unwrap_err();
    assert!(matches!(error, EngineError::Timeout { .. }), "{}", chain(&error));
    assert!(error.to_string().contains(&url), "{error}");
    drop(silent);
}

#[tokio::test]
async fn something_else_at_the_address_is_not_mistaken_for_a_daemon() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/transmission/rpc", other.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut peer, _) = other.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = peer.read(&mut request).await;
            let _ = peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").await;
        }
    });
    let error = engine_at(url, Duration::from_secs(5)).info().await.unwrap_err();
    assert!(matches!(error, EngineError::Protocol { .. }), "{}", chain(&error));
}

#[tokio::test]
async fn many_calls_at_once_survive_a_daemon_that_restarts_with_another_session_id() {
    let mut daemon = Daemon::on_loopback(EngineRole::Branch);
    let torrent = make(&daemon.content_dir().join("a.seg"), "a.seg", &content(50_000, 4));
    let engine = daemon.ready().await;
    let hash = engine.add(&torrent.to_file(&lan_tiers(LAN)), daemon.content_dir()).await.unwrap();
    for round in 0..2 {
        let calls: Vec<_> = (0..60)
            .map(|_| {
                let engine = engine.clone();
                tokio::spawn(async move { engine.status(&hash).await })
            })
            .collect();
        for call in calls {
            assert!(call.await.unwrap().unwrap().is_some(), "round {round}");
        }
        if round == 0 {
            daemon.restart();
            until("it answers again", || async { engine.list().await.ok().filter(|list| !list.is_empty()) }).await;
        }
    }
}

#[tokio::test]
async fn the_daemon_takes_our_settings_and_limits_and_a_running_one_keeps_its_file() {
    for role in [EngineRole::HeadOffice, EngineRole::Branch, EngineRole::Terminal] {
        let mut daemon = Daemon::on_loopback(role);
        let engine = daemon.ready().await;
        let limits = Limits { down: Some(1_500_000), up: None };
        engine.set_limits(limits).await.unwrap();
        let session = rpc(&daemon, r#"{"method":"session-get"}"#).await["arguments"].clone();
        assert_eq!((&session["speed-limit-down-enabled"], &session["speed-limit-down"]), (&true.into(), &1500.into()));
        assert_eq!(session["speed-limit-up-enabled"], false);
        // What the daemon says of itself under the same names; two it names otherwise.
        let ours = daemon.settings();
        let mut compared = 0;
        for (key, value) in ours.as_object().unwrap() {
            let theirs = match key.as_str() {
                "ratio-limit-enabled" => &session["seedRatioLimited"],
                "encryption" | "speed-limit-down-enabled" => continue,
                key => &session[key],
            };
            if !theirs.is_null() {
                assert_eq!(theirs, value, "{role:?} {key}");
                compared += 1;
            }
        }
        assert!(compared >= 20, "only {compared} settings could be compared");
        assert_eq!(session["encryption"], "tolerated");

        let refused = write_daemon_settings(&daemon.config_dir(), &ours);
        assert!(matches!(refused, Err(SettingsError::Running { .. })));
        daemon.running.take().unwrap().stop();
        write_daemon_settings(&daemon.config_dir(), &ours).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(daemon.config_dir().join("settings.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

async fn rpc(daemon: &Daemon, body: &str) -> serde_json::Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://127.0.0.1:{}/transmission/rpc", daemon.options.rpc_port);
    let post = || client.post(&url).basic_auth("filial", Some(support::PASSWORD)).body(body.to_owned());
    let session = post().send().await.unwrap().headers()["X-Transmission-Session-Id"].clone();
    post().header("X-Transmission-Session-Id", session).send().await.unwrap().json().await.unwrap()
}

async fn raw(daemon: &Daemon, field: &str) -> serde_json::Value {
    let answer = rpc(daemon, &format!(r#"{{"method":"torrent-get","arguments":{{"fields":["{field}"]}}}}"#)).await;
    answer["arguments"]["torrents"][0].clone()
}

async fn act(daemon: &Daemon, method: &str, hash: &str) {
    let answer = rpc(daemon, &format!(r#"{{"method":"{method}","arguments":{{"ids":["{hash}"]}}}}"#)).await;
    assert_eq!(answer["result"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_daemon_forgot_or_stopped_is_told_of_and_found_again_on_the_disk() {
    let mut daemon = Daemon::on_loopback(EngineRole::Branch);
    let bytes = content(50 * 16 * 1024, 3);
    let torrent = make(&daemon.content_dir().join("kept.seg"), "kept.seg", &bytes);
    let file = torrent.to_file(&lan_tiers(LAN));
    let engine = daemon.ready().await;
    let hash = engine.add(&file, daemon.content_dir()).await.unwrap();
    let whole = || async { engine.status(&hash).await.unwrap().filter(|s| s.complete && s.running) };
    until("it is verified", whole).await;
    assert_eq!(engine.not_seeding().await.unwrap(), []);

    act(&daemon, "torrent-stop", &hash.to_string()).await;
    let resting = || async { (engine.not_seeding().await.unwrap() == [hash]).then_some(()) };
    until("it stands still", resting).await;
    engine.add(&file, daemon.content_dir()).await.unwrap();
    until("it goes on", whole).await;
    assert_eq!(engine.not_seeding().await.unwrap(), []);

    // Killed before it wrote down what it had: the torrent is there, and nothing of it.
    daemon.running.take().unwrap().stop();
    fs::remove_dir_all(daemon.config_dir().join("resume")).unwrap();
    daemon.restart();
    daemon.ready().await;
    until("it comes back with nothing of it", resting).await;
    engine.add(&file, daemon.content_dir()).await.unwrap();
    until("it is found on the disk", whole).await;
    assert_eq!(engine.not_seeding().await.unwrap(), []);
    assert_eq!(engine.status(&hash).await.unwrap().unwrap().received_bytes, 0, "nothing was fetched");
}
