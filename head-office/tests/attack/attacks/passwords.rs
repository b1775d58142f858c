//! Strangers who guess passwords.

use serde_json::json;
use wire::v1::paths;

use super::{address, client, text, withstand};
use crate::site::MEMORY;

/// Addresses at which each server is tried: each has thirty tries in a row.
const ADDRESSES: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_leave_no_memory_behind() {
    let (_, counts) = withstand("11. wrong passwords", MEMORY, async |site, attack| {
        for (to, tls) in site.people() {
            for n in 0..ADDRESSES {
                let stranger = client(address(40 + n), &tls);
                let body = text(&json!({ "name": format!("stranger-{n}"), "password": "correct horse battery" }));
                attack.posts(4, &stranger, &format!("https://{to}{}", paths::SESSION), move || body.clone());
            }
        }
    })
    .await;
    assert!(counts.taken() == 0 && counts.refused() > 100, "{}", counts.text());
}
