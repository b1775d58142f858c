use chrono::TimeDelta;
use serde_json::json;
use service_kit::Clock as _;
use service_kit::client::ClientError;
use test_kit::BranchKey;
use trust::certificates::{BRANCH_LIFETIME, LEAF_LIFETIME};
use wire::Code;
use wire::v1::fleet::{Branch, BranchRemoved};
use wire::v1::sync::{BranchEnrolRequest, BranchEnrolResponse, Sync};

use crate::api::refusal;
use crate::support::tls::{enrolment, try_enrol};
use crate::support::{Office, count, facts};

fn key() -> BranchKey {
    BranchKey::generate().unwrap()
}

/// What the server of a branch that is called so gets to see, with this key and certificate.
async fn sync(office: &Office, key: &BranchKey, answer: &BranchEnrolResponse) -> Result<Sync, Code> {
    let leaf = key.leaf(&answer.branch, &answer.certificate, office.clock.now()).unwrap();
    let client = office.line().client(office.machines, None, Some(&leaf));
    client.get("/v1/sync").await.map_err(|e| e.code().unwrap_or_else(|| panic!("{e}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_certifies_one_key_and_its_answer_may_be_lost() {
    let office = Office::start().await;
    let (added, key, machines) = (office.add_branch("north").await, key(), office.machine(None));
    assert!(added.join_token.ends_with(&office.line().anchor().fingerprint().to_string()));
    let answer = try_enrol(&machines, Some(&added.join_token), &key).await.unwrap();
    assert_eq!(answer.branch.as_str(), "north");
    sync(&office, &key, &answer).await.unwrap();
    let branch: Branch = office.admin().get("/v1/branches/north").await.unwrap();
    assert!(branch.enrolled && branch.last_heard.is_some() && branch.denied.is_none());
    // The same key again, as after a crash before it was kept: the same answer, byte for byte.
    office.clock.advance(TimeDelta::hours(71));
    let pool = office.pool().await;
    let before = count(&pool, "SELECT count(*) FROM audit").await;
    for token in [Some(added.join_token.as_str()), None] {
        assert_eq!(try_enrol(&machines, token, &key).await.unwrap(), answer);
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM audit").await, before, "nothing changed, and nothing is recorded");
    // Stolen: another key.
    let stolen = try_enrol(&machines, Some(&added.join_token), &self::key()).await;
    assert!(stolen.as_ref().unwrap_err().to_string().contains("was used on 2030-01-01 08:00 UTC"), "{stolen:?}");
    assert_eq!(refusal(stolen), Code::JoinUsed);
    // It expired, also for the server that used it, which needs it no more.
    office.clock.advance(TimeDelta::hours(2));
    assert_eq!(refusal(try_enrol(&machines, Some(&added.join_token), &key).await), Code::JoinExpired);
    sync(&office, &key, &answer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stole_a_join_token_first_is_seen_and_sent_away() {
    let office = Office::start().await;
    let (added, thief, key, machines) = (office.add_branch("north").await, key(), key(), office.machine(None));
    let stolen = try_enrol(&machines, Some(&added.join_token), &thief).await.unwrap();
    let refused = try_enrol(&machines, Some(&added.join_token), &key).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains(&thief.digest().unwrap().short()) && text.contains("filial branch remove"), "{text}");
    office.admin().delete::<BranchRemoved>("/v1/branches/north").await.unwrap();
    assert_eq!(sync(&office, &thief, &stolen).await.unwrap_err(), Code::BranchRemoved);
    assert_eq!(refusal(try_enrol(&machines, None, &thief).await), Code::BranchRemoved);
    let again = office.add_branch("north").await;
    let answer = try_enrol(&machines, Some(&again.join_token), &key).await.unwrap();
    sync(&office, &key, &answer).await.unwrap();
    assert_eq!(sync(&office, &thief, &stolen).await.unwrap_err(), Code::BranchRemoved, "the name is another's now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_certified_anew_without_a_token_also_long_after_its_certificate_expired() {
    let office = Office::start().await;
    let (added, key) = (office.add_branch("north").await, key());
    let first = try_enrol(&office.machine(None), Some(&added.join_token), &key).await.unwrap();
    assert_eq!(try_enrol(&office.machine(None), None, &key).await.unwrap(), first, "it is young");
    office.clock.advance(BRANCH_LIFETIME * 2 / 3);
    let second = try_enrol(&office.machine(None), None, &key).await.unwrap();
    assert_ne!(second.certificate, first.certificate);
    office.clock.advance(BRANCH_LIFETIME + TimeDelta::days(2));
    let leaf = key.leaf(&second.branch, &second.certificate, office.clock.now()).unwrap();
    let expired = office.line().client(office.machines, None, Some(&leaf)).get::<Sync>("/v1/sync").await;
    assert!(matches!(expired, Err(ClientError::Distrusted { .. } | ClientError::Unreachable { .. })), "{expired:?}");
    let third = try_enrol(&office.machine(None), None, &key).await.unwrap();
    sync(&office, &key, &third).await.unwrap();
    assert_eq!(refusal(try_enrol(&office.machine(None), None, &self::key()).await), Code::JoinRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_branch_is_refused_at_its_next_request_and_gets_nothing_new_until_it_is_allowed() {
    let office = Office::start().await;
    let (added, key, machines) = (office.add_branch("north").await, key(), office.machine(None));
    let answer = try_enrol(&machines, Some(&added.join_token), &key).await.unwrap();
    let leaf = key.leaf(&answer.branch, &answer.certificate, office.clock.now()).unwrap();
    // One connection throughout.
    let client = office.line().client(office.machines, None, Some(&leaf));
    client.get::<Sync>("/v1/sync").await.unwrap();
    let change = async |what: &str| {
        let path = format!("/v1/branches/north/{what}");
        office.admin().post::<_, Branch>(&path, &json!({ "reason": "the server was stolen" })).await.unwrap()
    };
    let since = change("deny").await.denied.unwrap();
    office.clock.advance(TimeDelta::hours(1));
    assert_eq!(change("deny").await.denied, Some(since), "denied again");
    assert_eq!(refusal(client.get::<Sync>("/v1/sync").await), Code::IdentityDenied);
    assert_eq!(refusal(try_enrol(&machines, Some(&added.join_token), &key).await), Code::IdentityDenied);
    assert_eq!(refusal(try_enrol(&machines, None, &key).await), Code::IdentityDenied);
    assert_eq!(change("allow").await.denied, None);
    client.get::<Sync>("/v1/sync").await.unwrap();
    // A key that was denied when its branch was removed does not come back under a new token.
    change("deny").await;
    office.admin().delete::<BranchRemoved>("/v1/branches/north").await.unwrap();
    let again = office.add_branch("north").await;
    assert_eq!(refusal(try_enrol(&machines, Some(&again.join_token), &key).await), Code::IdentityDenied);
    try_enrol(&machines, Some(&again.join_token), &self::key()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_no_certificate() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    branch.client.get::<Sync>("/v1/sync").await.unwrap();
    office.clock.advance(LEAF_LIFETIME + TimeDelta::days(1));
    assert_eq!(refusal(branch.client.get::<Sync>("/v1/sync").await), Code::CertificateRefused);
    office.as_branch(&branch).get::<Sync>("/v1/sync").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_branchs() {
    let office = Office::start().await;
    let (north, south, key) = (office.add_branch("north").await, office.add_branch("south").await, key());
    try_enrol(&office.machine(None), Some(&north.join_token), &key).await.unwrap();
    let both = try_enrol(&office.machine(None), Some(&south.join_token), &key).await;
    assert_eq!(refusal(both), Code::CertificateRequest);
    try_enrol(&office.machine(None), Some(&south.join_token), &self::key()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_expired_and_absurd_tokens_are_told_apart() {
    let office = Office::start().await;
    let added = office.add_branch("north").await;
    office.clock.advance(TimeDelta::hours(73));
    let of = async |token: &str| refusal(try_enrol(&office.machine(None), Some(token), &key()).await);
    assert_eq!(of(&added.join_token).await, Code::JoinExpired);
    for token in ["join-unknown", "", &"x".repeat(10_000)] {
        assert_eq!(of(token).await, Code::JoinRefused);
    }
    let whole = BranchEnrolRequest { join_token: Some(added.join_token.clone()), ..enrolment(None, &key()) };
    let answer = office.machine(None).post::<_, BranchEnrolResponse>("/v1/enrol", &whole).await;
    assert_eq!(refusal(answer), Code::JoinRefused, "only the secret is kept as a hash");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_may_be_given_a_time_of_its_own() {
    let office = Office::start().await;
    let add = async |name: &str, seconds: u32| {
        let body = json!({ "name": name, "join_token_seconds": seconds });
        office.admin().post::<_, wire::v1::fleet::BranchAdded>("/v1/branches", &body).await
    };
    for absurd in [0, 365 * 86_400 + 1, u32::MAX] {
        assert_eq!(refusal(add("south", absurd).await), Code::BadField);
    }
    let added = add("north", 60).await.unwrap();
    assert_eq!(added.join_token_expires, office.clock.now() + TimeDelta::seconds(60));
    office.clock.advance(TimeDelta::seconds(61));
    let late = try_enrol(&office.machine(None), Some(&added.join_token), &key()).await;
    assert_eq!(refusal(late), Code::JoinExpired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_sent_to_its_branch_server_and_a_request_must_be_one() {
    let office = Office::start().await;
    let added = office.add_branch("north").await;
    let mut request = json!(enrolment(Some(&added.join_token), &key()));
    request["terminal"] = json!(facts("till-1", "k1"));
    let post = async |body: &serde_json::Value| {
        refusal(office.machine(None).post::<_, BranchEnrolResponse>("/v1/enrol", body).await)
    };
    assert_eq!(post(&request).await, Code::BadField);
    assert_eq!(post(&json!({})).await, Code::BadField);
    let bad = json!({ "join_token": "x", "certificate_request": "-----BEGIN CERTIFICATE REQUEST-----" });
    assert_eq!(post(&bad).await, Code::CertificateRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_lies_in_the_database() {
    let office = Office::start().await;
    let added = office.add_branch("north").await;
    let secret = enrolment(Some(&added.join_token), &key()).join_token.unwrap();
    for token in [&added.join_token, &secret] {
        let sql = format!("SELECT count(*) FROM branches b WHERE b::text LIKE '%{token}%'");
        assert_eq!(count(&office.pool().await, &sql).await, 0);
    }
}
