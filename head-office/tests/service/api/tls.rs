//! What a stranger meets on the wire.

use std::net::SocketAddr;
use std::process::Command;

use chrono::TimeDelta;
use head_office::config::PublicCertificate;
use service_kit::Clock as _;
use service_kit::client::{ClientError, JsonClient, Timeouts};
use test_kit::{assert_only_new_tls, s_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trust::certificates::{Anchor, Identity, Suffix, client_config, none_denied};

use crate::support::Office;

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_1_3_are_spoken_and_1_1_is_refused_at_our_end() {
    let office = Office::start().await;
    assert_only_new_tls(&[office.operators, office.machines], office.clock.now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_answered_by_nobody() {
    let office = Office::start().await;
    for address in [office.operators, office.machines] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(crate::support::PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_office_proves_who_it_is_by_its_authority_and_renews_its_certificate_by_itself() {
    let mut office = Office::start().await;
    let other = Office::start().await;
    let dial = |anchor, peer| {
        let time = office.line().time();
        let tls = client_config(None, anchor, Suffix::default(), peer, none_denied(), time).unwrap();
        JsonClient::secure(&format!("https://{}", office.operators), tls, Timeouts::default()).unwrap()
    };
    let north = Identity::Branch("north".parse().unwrap());
    for (anchor, peer) in [
        (other.line().anchor(), Identity::HeadOffice),
        (Anchor::Pinned([7; 32].into()), Identity::HeadOffice),
        (office.line().anchor(), north),
    ] {
        let refused = dial(anchor, peer).get::<serde_json::Value>("/healthz").await.unwrap_err();
        assert!(matches!(refused, ClientError::Distrusted { .. }), "{refused}");
    }
    let pinned = Anchor::Pinned(office.line().anchor().fingerprint());
    let alive = async |anchor| dial(anchor, Identity::HeadOffice).get::<serde_json::Value>("/healthz").await;
    alive(pinned.clone()).await.unwrap();
    // Ninety days pass without a restart.
    for _ in 0..6 {
        office.clock.advance(TimeDelta::days(50));
        alive(pinned.clone()).await.unwrap();
    }
    // The authority stays over a restart.
    office.stop().await;
    office.resume().await;
    office.stranger().get::<serde_json::Value>("/healthz").await.unwrap();
    assert_eq!(office.line().anchor().fingerprint(), pinned.fingerprint());
    use std::os::unix::fs::PermissionsExt as _;
    let key = office.settings.tls.folder.join("authority-key.pem");
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
}

/// The subject of the certificate that a listener shows.
async fn shown(address: SocketAddr, arguments: &[&str]) -> String {
    let said = s_client(address, arguments).await;
    let subject = said.lines().find_map(|line| line.strip_prefix("subject="));
    subject.unwrap_or_else(|| panic!("{said}")).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_shown_the_public_certificate_and_programs_the_fleets() {
    let make = |dir: &std::path::Path, name: &str| {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9000", "-subj"]).arg(name);
        let (certificate, key) = (dir.join("public.pem"), dir.join("public-key.pem"));
        command.arg("-out").arg(&certificate).arg("-keyout").arg(&key);
        assert!(command.output().unwrap().status.success());
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, private).unwrap();
        PublicCertificate { certificate, key }
    };
    let office = Office::with(|settings| {
        let dir = settings.tls.folder.parent().unwrap().parent().unwrap().to_owned();
        settings.tls.public = Some(make(&dir, "/CN=first.example"));
    })
    .await;
    let named = ["-servername", "console.example"];
    assert!(shown(office.operators, &named).await.contains("first.example"));
    assert!(shown(office.operators, &["-noservername"]).await.contains("head office"));
    assert!(shown(office.machines, &named).await.contains("head office"), "machines know no public names");
    office.admin().get::<serde_json::Value>("/v1/status").await.unwrap();
    // Renewed from outside: read again within the hour, without a restart.
    make(office.dir.path(), "/CN=second.example");
    office.clock.advance(TimeDelta::minutes(61));
    assert!(shown(office.operators, &named).await.contains("second.example"));
    // Damaged, it stays as it was.
    std::fs::write(office.dir.path().join("public.pem"), "nothing").unwrap();
    office.clock.advance(TimeDelta::minutes(61));
    assert!(shown(office.operators, &named).await.contains("second.example"));
}
