//! By what name connections to the machines' listener are counted.

use std::net::Ipv4Addr;
use std::sync::Arc;

use reqwest::Method;
use serde_json::json;
use test_kit::{Leaf, tls_from, wait_for};
use tokio::io::{AsyncRead, AsyncWrite};
use trust::certificates::{Authority, Suffix, TlsKey, certificate_from_pem};
use wire::v1::paths;

use crate::support::{Branch, Office, PATIENCE};

/// Connections that strangers at one address may have, and each caller.
const MOST: usize = 2;
/// Names for which a branch in other hands issues certificates.
const NAMES: usize = 12;

async fn office() -> Office {
    Office::with(|s| (s.limits.strangers_per_address, s.limits.connections_per_caller) = (MOST, MOST)).await
}

/// A certificate for a terminal of any name, as the branch's server issues them.
fn terminal(office: &Office, branch: &Branch, name: &str) -> Leaf {
    use service_kit::Clock as _;
    let (chain, own) = (vec![certificate_from_pem(&branch.certificate).unwrap()], branch.key.to_pem());
    let issuer = Authority::open(Suffix::default(), Some(branch.name.clone()), chain, TlsKey::from_pem(&own).unwrap());
    let (key, name) = (TlsKey::generate().unwrap(), name.parse().unwrap());
    let chain = issuer.unwrap().issue_terminal(&key.request().unwrap(), &name, office.clock.now()).unwrap();
    Leaf { chain, key }
}

/// Opens connections with certificates of one branch under many names, and returns those taken.
///
/// No more for each name than a caller may have: those beyond stay strangers', and would keep the next name's handshakes out.
async fn opened(office: &Office, branch: &Branch) -> Vec<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
    let mut held = Vec::new();
    for n in 0..NAMES {
        let tls = Arc::new(office.line().config(Some(&terminal(office, branch, &format!("n{n}")))));
        for _ in 0..MOST {
            if let Ok(stream) = tls_from(Ipv4Addr::LOCALHOST, office.machines, tls.clone()).await {
                held.push(stream);
            }
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_one_branch_count_as_one_caller_whatever_they_name() {
    let office = office().await;
    let east = office.branch("east", "kiosk-x86", &[]).await;
    let held = opened(&office, &east).await;
    assert!(held.len() <= 2 * MOST, "{} connections of one key", held.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_branch_is_a_stranger_and_leaves_room_for_others() {
    let office = office().await;
    let (east, south) = (office.branch("east", "k1", &[]).await, office.branch("south", "k1", &[]).await);
    let deny = json!({ "reason": "stolen" });
    let told = office.admin().request(Method::POST, &paths::branch_deny(&east.name)).json(&deny).send().await.unwrap();
    assert!(told.status().is_success());
    let held = opened(&office, &east).await;
    assert!(held.len() <= MOST, "{} connections of a denied key", held.len());
    drop(held);
    // Who is known finds room as soon as a place for its handshake is free.
    wait_for("the branch that is not denied", PATIENCE, async || {
        let client = office.as_branch(&south);
        client.get::<serde_json::Value>(paths::SYNC).await
    })
    .await;
}
