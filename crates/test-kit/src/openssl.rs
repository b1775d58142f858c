//! What `openssl s_client` makes of a listener.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tempfile::TempDir;
use trust::certificates::{Authority, Suffix, TlsKey, certificate_to_pem};

use crate::daemon::Daemon;
use crate::port::free_port;
use crate::wait::wait_for;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What `openssl s_client` says of a listener, with these arguments.
///
/// Its own end is made to try whatever it is asked to.
///
/// # Panics
/// The tool is not installed.
#[expect(clippy::disallowed_methods, clippy::expect_used, reason = "an adapter for tests; they cannot go on without")]
pub async fn s_client(address: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-cipher", "ALL:@SECLEVEL=0"]).args(arguments);
    command.stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("openssl");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

/// Asserts that each listener speaks TLS 1.2 and 1.3 and itself refuses older versions.
///
/// # Panics
/// One of them does not, or the tool at hand cannot speak TLS 1.1, so that nothing is shown.
pub async fn assert_only_new_tls(listeners: &[SocketAddr], now: DateTime<Utc>) {
    let old = Old::start(now);
    // Proves that the tool itself can connect with 1.1, so that refusals below come from the server.
    wait_for("the old server to take TLS 1.1", PATIENCE, async || {
        let said = s_client(old.address, &["-tls1_1"]).await;
        if said.contains("Protocol  : TLSv1.1") && !said.contains("Cipher is (NONE)") { Ok(()) } else { Err(said) }
    })
    .await;
    for address in listeners {
        for (flag, protocol) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let said = s_client(*address, &[flag]).await;
            assert!(said.contains(&format!("New, {protocol}, Cipher is ")) && !said.contains("(NONE)"), "{said}");
        }
        for flag in ["-tls1_1", "-tls1"] {
            let said = s_client(*address, &[flag]).await;
            // An alert is what comes from the other end.
            assert!(said.contains("Cipher is (NONE)") && said.contains("SSL alert number"), "{flag}: {said}");
        }
    }
}

/// Something that takes TLS 1.1.
struct Old {
    address: SocketAddr,
    _server: Daemon,
    _dir: TempDir,
}

impl Old {
    #[expect(clippy::disallowed_methods, clippy::expect_used, reason = "for tests, which cannot go on without")]
    fn start(now: DateTime<Utc>) -> Self {
        let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let dir = tempfile::tempdir().expect("a folder");
        let [certificate, key, log] = ["old.pem", "old-key.pem", "old.log"].map(|name| dir.path().join(name));
        let made = || {
            let authority = Authority::begin(Suffix::default(), TlsKey::generate()?, now)?;
            let own = TlsKey::generate()?;
            Ok::<_, trust::Refusal>((authority.issue_own(&own.request()?, now)?, own))
        };
        let (chain, own) = made().expect("a certificate");
        std::fs::write(&certificate, certificate_to_pem(&chain[0])).expect("written");
        std::fs::write(&key, own.to_pem().expose()).expect("written");
        let (listen, certificate, key) =
            (address.to_string(), certificate.display().to_string(), key.display().to_string());
        let protocol = ["s_server", "-accept", &listen, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-quiet"];
        let arguments = [&protocol[..], &["-cert", &certificate, "-key", &key]].concat();
        let server = Daemon::start("openssl", &arguments, &log).expect("openssl");
        Self { address, _server: server, _dir: dir }
    }
}
