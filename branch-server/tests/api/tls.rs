//! What a stranger meets on the wire, and by what people know this server.

use std::net::SocketAddr;

use fleet_types::Digest;
use service_kit::client::{ClientError, JsonClient, Timeouts};
use service_kit::{Clock as _, SystemClock};
use test_kit::{assert_only_new_tls, s_client};
use trust::certificates::{Anchor, FleetTime, Identity, Suffix, client_config, fingerprint, none_denied};

use crate::support::{Branch, Options};

fn pinned(branch: &Branch) -> Digest {
    branch.head_office.with(|state| fingerprint(&state.authority.chain()[0]))
}

/// Somebody who wants proof.
fn dial(address: SocketAddr, authority: Digest, peer: Identity) -> JsonClient {
    let time = FleetTime::new(std::sync::Arc::new(SystemClock), chrono::DateTime::UNIX_EPOCH);
    let tls = client_config(None, Anchor::Pinned(authority), Suffix::default(), peer, none_denied(), time).unwrap();
    JsonClient::secure(&format!("https://{address}"), tls, Timeouts::default()).unwrap()
}

fn north() -> Identity {
    Identity::Branch("north".parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_1_3_are_spoken_and_1_1_is_refused_at_our_end() {
    let branch = Branch::enrolled().await;
    assert_only_new_tls(&[branch.operators, branch.machines], SystemClock.now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_proves_whose_it_is_by_the_fleets_authority_once_this_server_enrolled() {
    let branch = Branch::start(Options::default()).await;
    let health = async |authority, peer| {
        let path = "/healthz";
        dial(branch.operators, authority, peer).get::<serde_json::Value>(path).await
    };
    let refused = async |authority, peer| {
        let refused = health(authority, peer).await.unwrap_err();
        assert!(matches!(refused, ClientError::Distrusted { .. }), "{refused}");
    };
    refused(pinned(&branch), north()).await;
    branch.app.poll.once().await.unwrap();
    health(pinned(&branch), north()).await.unwrap();
    refused([7; 32].into(), north()).await;
    refused(pinned(&branch), Identity::HeadOffice).await;
    refused(pinned(&branch), Identity::Branch("south".parse().unwrap())).await;
    assert!(s_client(branch.operators, &[]).await.contains("subject=CN = branch north"));
}
