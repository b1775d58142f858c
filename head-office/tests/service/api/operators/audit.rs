//! The audit: every change is a row, and no row can be changed, removed, reordered or cut off unnoticed.

use std::collections::BTreeSet;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use service_kit::database::connection;
use service_kit::server::Role;
use uuid::Uuid;
use wire::v1::audit::{AuditHead, AuditPage, Broken, Entry, Head, Verifier};
use wire::v1::fleet::PlanIssued;
use wire::v1::operators::OperatorRole;
use wire::v1::plan::Plan;
use wire::v1::sync::Sync;
use wire::{Code, PLAN_PAYLOAD_TYPE};

use crate::api::refusal;
use crate::support::people::{PASSWORD, new_token};
use crate::support::{Office, published, tus};

const NEW: &str = "another horse another battery";

/// All rows, as the route shows them, a few at a time.
async fn rows(office: &Office) -> Vec<Entry> {
    let (mut rows, mut after) = (Vec::new(), Some(0));
    while let Some(seq) = after {
        let page: AuditPage = office.admin().get(&format!("/v1/audit?after={seq}&limit=7")).await.unwrap();
        rows.extend(page.entries);
        after = page.next;
    }
    rows
}

async fn heads(office: &Office) -> AuditHead {
    office.admin().get("/v1/audit/head").await.unwrap()
}

async fn verify(office: &Office) -> Result<Head, Broken> {
    let heads = heads(office).await;
    let mut verifier = Verifier::new(heads.anchor.into_iter().chain([heads.head]));
    rows(office).await.iter().try_for_each(|row| verifier.push(row))?;
    verifier.finish()
}

async fn sql(office: &Office, text: &str) {
    connection(&office.pool().await).await.unwrap().batch_execute(text).await.unwrap();
}

/// Some history.
async fn with_history() -> Office {
    let office = Office::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        office.add_branch(name).await;
    }
    office
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_says_who_when_from_where_what_why_before_and_after() {
    let office = Office::start().await;
    office.person("ann", OperatorRole::Admin).await;
    office.service("ci", OperatorRole::Viewer).await;
    let ann = office.log_in("ann").await;
    let body = json!({ "role": "operator", "reason": "runs rollouts now" });
    let answer = ann.request(Method::PATCH, "/v1/operators/ci").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let row = rows(&office).await.pop().unwrap();
    assert_eq!((row.seq, row.at, row.who.as_str()), (4, crate::support::begin(), "ann"));
    assert!(row.via.starts_with("session ") && row.address.as_deref() == Some("127.0.0.1"), "{row:?}");
    assert_eq!((row.action.as_str(), row.subject.as_str()), ("PATCH /v1/operators/{name}", "operator ci"));
    assert_eq!(row.reason.as_deref(), Some("runs rollouts now"));
    assert_eq!(row.before, Some(json!({ "role": "viewer", "service": true, "disabled": false })));
    assert_eq!(row.after, Some(json!({ "role": "operator", "service": true, "disabled": false })));
    // The newest come first unless asked for otherwise.
    let page: AuditPage = office.admin().get("/v1/audit?limit=2").await.unwrap();
    assert_eq!((page.entries.iter().map(|e| e.seq).collect::<Vec<_>>(), page.next), (vec![4, 3], Some(3)));
    let page: AuditPage = office.admin().get("/v1/audit?before=3&limit=2").await.unwrap();
    assert_eq!((page.entries.len(), page.next), (2, None));
    for bad in ["limit=0", "limit=501", "after=1&before=2"] {
        assert_eq!(
            refusal(office.admin().get::<AuditPage>(&format!("/v1/audit?{bad}")).await),
            Code::BadField,
            "{bad}"
        );
    }
}

/// Does what each unsafe route does, once.
struct Doer {
    office: Office,
    done: BTreeSet<String>,
    rows: u64,
}

impl Doer {
    /// Does it, and sees that exactly one row tells so.
    async fn one(&mut self, action: &str, doing: impl Future<Output = Response>) -> Response {
        let response = doing.await;
        assert!(response.status().is_success(), "{action}: {:?}", response.text().await);
        self.rows += 1;
        let page: AuditPage = self.office.admin().get("/v1/audit?limit=1").await.unwrap();
        let row = &page.entries[0];
        assert_eq!((row.seq, row.action.as_str()), (self.rows, action), "{row:?}");
        self.done.insert(action.to_owned());
        response
    }

    fn admin(&self, method: Method, path: &str, body: Value) -> impl Future<Output = Response> + use<> {
        let request = self.office.admin().request(method, path).json(&body);
        async move { request.send().await.unwrap() }
    }
}

async fn accounts(doer: &mut Doer) {
    let add =
        doer.admin(Method::POST, "/v1/operators", json!({ "name": "ann", "role": "viewer", "password": PASSWORD }));
    doer.one("POST /v1/operators", add).await;
    let change = doer.admin(Method::PATCH, "/v1/operators/ann", json!({ "role": "admin" }));
    doer.one("PATCH /v1/operators/{name}", change).await;
    let set = doer.admin(Method::PUT, "/v1/operators/ann/password", json!({ "new": PASSWORD }));
    doer.one("PUT /v1/operators/{name}/password", set).await;
    let origin = doer.office.stranger();
    let log_in = || {
        let request = origin.request(Method::POST, "/v1/session").json(&json!({ "name": "ann", "password": PASSWORD }));
        async move { request.send().await.unwrap() }
    };
    doer.one("POST /v1/session", log_in()).await;
    doer.rows += 1;
    let ann = doer.office.log_in("ann").await;
    let listed: Value = ann.bare(Method::GET, "/v1/sessions").send().await.unwrap().json().await.unwrap();
    let other = listed.as_array().unwrap().iter().find(|s| s["current"] == false).unwrap()["id"].clone();
    let request = ann.request(Method::DELETE, &format!("/v1/sessions/{}", other.as_str().unwrap()));
    doer.one("DELETE /v1/sessions/{id}", async { request.send().await.unwrap() }).await;
    let request = ann.request(Method::PUT, "/v1/password").json(&json!({ "current": PASSWORD, "new": NEW }));
    doer.one("PUT /v1/password", async { request.send().await.unwrap() }).await;
    let request = ann.request(Method::DELETE, "/v1/session");
    doer.one("DELETE /v1/session", async { request.send().await.unwrap() }).await;
    let make = doer.admin(Method::POST, "/v1/tokens", json!(new_token("t", OperatorRole::Viewer)));
    let made: Value = doer.one("POST /v1/tokens", make).await.json().await.unwrap();
    let path = format!("/v1/tokens/{}", made["kept"]["id"].as_str().unwrap());
    let revoke = doer.admin(Method::DELETE, &path, Value::Null);
    doer.one("DELETE /v1/tokens/{id}", revoke).await;
}

async fn fleet(doer: &mut Doer) {
    published(&doer.office, "kiosk", "1.0.0", "k1").await;
    let add = doer.admin(Method::POST, "/v1/branches", json!({ "name": "north" }));
    let added: Value = doer.one("POST /v1/branches", add).await.json().await.unwrap();
    let enrol = doer.office.machine(None).request(Method::POST, "/v1/enrol");
    let key = test_kit::BranchKey::generate().unwrap();
    let enrol = enrol.json(&crate::support::tls::enrolment(added["join_token"].as_str(), &key));
    doer.one("POST /v1/enrol", async { enrol.send().await.unwrap() }).await;
    let body = json!({ "branch": "north", "product": "kiosk", "version": "1.0.0" });
    let assign = doer.admin(Method::POST, "/v1/assignments", body);
    doer.one("POST /v1/assignments", assign).await;
    let unassign = doer.admin(Method::DELETE, "/v1/assignments/north/kiosk", Value::Null);
    doer.one("DELETE /v1/assignments/{branch}/{product}", unassign).await;
    for what in ["deny", "allow"] {
        let change = doer.admin(Method::POST, &format!("/v1/branches/north/{what}"), json!({ "reason": "a test" }));
        doer.one(&format!("POST /v1/branches/{{branch}}/{what}"), change).await;
    }
    // As a kit brings them back.
    let seen = |seq: u64, key: &str| {
        let report = json!({ "kind": "terminal-seen", "facts": crate::support::facts("till-1", "k1"), "key": key });
        json!({ "seq": seq, "at": crate::support::begin(), "report": report })
    };
    let (first, second) = ("1".repeat(64), "2".repeat(64));
    let batch = json!({ "epoch": Uuid::new_v4(), "reports": [seen(1, &first), seen(2, &second)] });
    let bring = doer.admin(Method::POST, "/v1/branches/north/reports", batch);
    doer.one("POST /v1/branches/{branch}/reports", bring).await;
    let accept = doer.admin(Method::POST, "/v1/terminals/north/till-1/key", json!({ "key": second }));
    doer.one("POST /v1/terminals/{branch}/{name}/key", accept).await;
    // The terminal was heard just now.
    let remove = doer.admin(Method::DELETE, "/v1/terminals/north/till-1?force=true", Value::Null);
    doer.one("DELETE /v1/terminals/{branch}/{name}", remove).await;
    let remove = doer.admin(Method::DELETE, "/v1/branches/north?force=true", Value::Null);
    doer.one("DELETE /v1/branches/{branch}", remove).await;
    published(&doer.office, "kiosk", "3.0.0", "k1").await;
    sql(&doer.office, "UPDATE releases SET state = 'awaiting-signature'").await;
    let found = doer.office.admin().get("/v1/releases?product=kiosk&version=3.0.0").await;
    let found: Vec<wire::v1::releases::Release> = found.unwrap();
    let file = crate::releases::signing::signed_by_head_office(&doer.office, &found[0]);
    let path = wire::v1::paths::release_signatures(&found[0].id.to_string());
    let post = doer.office.admin().request(Method::POST, &path).body(file);
    doer.one("POST /v1/releases/{id}/signatures", async { post.send().await.unwrap() }).await;
    // One each: what is approved goes its way.
    for (what, version) in [("approve", "1.0.0"), ("withdraw", "2.0.0")] {
        if what == "withdraw" {
            published(&doer.office, "kiosk", version, "k1").await;
        }
        let found = format!("/v1/releases?product=kiosk&version={version}");
        let found: Value = doer.office.admin().get(&found).await.unwrap();
        let path = format!("/v1/releases/{}/{what}", found[0]["id"].as_str().unwrap());
        let asked = doer.admin(Method::POST, &path, json!({ "reason": "agreed" }));
        doer.one(&format!("POST /v1/releases/{{id}}/{what}"), asked).await;
    }
}

async fn uploads(doer: &mut Doer) {
    let admin = doer.office.admin();
    let create = |admin: &service_kit::client::JsonClient| {
        let request = admin.request(Method::POST, "/v1/uploads").header("Tus-Resumable", "1.0.0");
        let request = request.header("Upload-Length", "10");
        async move { request.send().await.unwrap() }
    };
    let id = |response: &Response| {
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        location.rsplit('/').next().unwrap().parse::<Uuid>().unwrap()
    };
    let first = id(&doer.one("POST /v1/uploads", create(&admin)).await);
    // A part of an archive is not recorded; the last one is.
    assert_eq!(tus::patch(&admin, first, 0, &[7; 4]).await.status(), 204);
    doer.one("PATCH /v1/uploads/{id}", tus::patch(&admin, first, 4, &[7; 6])).await;
    let second = id(&doer.one("POST /v1/uploads", create(&admin)).await);
    let cancel = admin.request(Method::DELETE, &format!("/v1/uploads/{second}")).header("Tus-Resumable", "1.0.0");
    doer.one("DELETE /v1/uploads/{id}", async { cancel.send().await.unwrap() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_changes_something_writes_one_row() {
    let mut doer = Doer { office: Office::start().await, done: BTreeSet::new(), rows: 0 };
    accounts(&mut doer).await;
    fleet(&mut doer).await;
    uploads(&mut doer).await;
    let changing = head_office::http::table::operator_routes().into_iter();
    let changing = changing.filter(|r| !["GET", "HEAD", "OPTIONS"].contains(&r.method.as_str()));
    let mut wanted: BTreeSet<String> = changing.map(|r| format!("{} {}", r.method, r.path)).collect();
    // Reports of machines are not recorded; an enrolment is.
    wanted.insert("POST /v1/enrol".into());
    assert_eq!(doer.done, wanted);
    assert_eq!(verify(&doer.office).await.unwrap().seq, doer.rows);
    let text = serde_json::to_string(&rows(&doer.office).await).unwrap();
    assert!(!text.contains(PASSWORD) && !text.contains(NEW) && !text.contains("argon2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_leaves_no_row() {
    let office = with_history().await;
    let before = heads(&office).await;
    let again = office.admin().post::<_, Value>("/v1/branches", &json!({ "name": "a" })).await;
    assert_eq!(refusal(again), Code::NameTaken);
    let forbidden = office.as_role(Role::Viewer).post::<_, Value>("/v1/branches", &json!({ "name": "f" })).await;
    assert_eq!(refusal(forbidden), Code::Forbidden);
    assert_eq!(office.try_log_in("nobody", PASSWORD).await.status(), 401);
    assert_eq!(heads(&office).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_row_is_detected() {
    let office = with_history().await;
    assert_eq!(verify(&office).await.unwrap().seq, 5);
    for (column, value) in [
        ("who", "'eve'"),
        ("at", "at + interval '1 second'"),
        ("via", "'console'"),
        ("address", "NULL"),
        ("action", "'nothing'"),
        ("subject", "'branch z'"),
        ("reason", "'asked to'"),
        ("before_state", "'{}'"),
        ("after_state", "NULL"),
    ] {
        sql(&office, "CREATE TABLE kept AS SELECT * FROM audit").await;
        sql(&office, &format!("UPDATE audit SET {column} = {value} WHERE seq = 3")).await;
        assert_eq!(verify(&office).await, Err(Broken::Changed(3)), "{column}");
        sql(&office, "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept; DROP TABLE kept").await;
    }
    assert_eq!(verify(&office).await.unwrap().seq, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_row_is_detected() {
    let office = with_history().await;
    sql(&office, "DELETE FROM audit WHERE seq = 3").await;
    assert_eq!(verify(&office).await, Err(Broken::OutOfOrder { wanted: 3, found: 4 }));
    sql(&office, "UPDATE audit SET seq = seq - 1 WHERE seq > 3").await;
    assert_eq!(verify(&office).await, Err(Broken::NotContinued(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn reordered_rows_are_detected() {
    let office = with_history().await;
    sql(
        &office,
        "UPDATE audit SET seq = 99 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3;
        UPDATE audit SET seq = 3 WHERE seq = 99",
    )
    .await;
    assert_eq!(verify(&office).await, Err(Broken::NotContinued(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_table_is_detected_also_after_a_restart_and_the_anchor_stays() {
    let mut office = with_history().await;
    let anchor = heads(&office).await.anchor.unwrap();
    assert_eq!(anchor.seq, 5);
    // As one who can write every table does it: without a trace in the database.
    let row = rows(&office).await.remove(2);
    let cut = format!("DELETE FROM audit WHERE seq > 3; UPDATE audit_head SET seq = 3, hash = '{}'", row.hash);
    sql(&office, &cut).await;
    assert_eq!(verify(&office).await, Err(Broken::Truncated { found: 3, kept: 5 }));
    office.stop().await;
    office.resume().await;
    assert_eq!(verify(&office).await, Err(Broken::Truncated { found: 3, kept: 5 }));
    // New rows grow past it: then it is another row that stands there.
    for name in ["f", "g", "h"] {
        office.add_branch(name).await;
    }
    assert_eq!(heads(&office).await.anchor, Some(anchor), "evidence is not overwritten");
    assert_eq!(verify(&office).await, Err(Broken::Rewritten(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branchs_signed_plan_holds_the_end_that_head_office_cannot_take_back() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let body = json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
    let plan: Plan = sync.plan.unwrap().open(PLAN_PAYLOAD_TYPE).unwrap();
    let kept = plan.audit.unwrap();
    let follow = async |kept: Head| {
        let mut verifier = Verifier::new([kept]);
        rows(&office).await.iter().try_for_each(|row| verifier.push(row))?;
        verifier.finish()
    };
    assert!(kept.seq > 0 && follow(kept).await.is_ok());
    // An attacker with head office's database and state folder truncates the chain and moves its anchor back.
    let before = rows(&office).await.remove(usize::try_from(kept.seq).unwrap() - 2);
    let cut = format!(
        "DELETE FROM audit WHERE seq > {0}; UPDATE audit_head SET seq = {0}, hash = '{1}'",
        before.seq, before.hash
    );
    sql(&office, &cut).await;
    assert_eq!(follow(kept).await, Err(Broken::Truncated { found: before.seq, kept: kept.seq }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anchor_follows_each_row_and_catches_up_after_a_kill() {
    let mut office = with_history().await;
    let file = office.settings.store.state_folder.join("audit-anchor.json");
    let kept: Head = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let now = heads(&office).await;
    assert_eq!((Some(kept), now.head), (now.anchor, kept));
    office.add_branch("f").await;
    office.stop().await;
    // Killed between the commit and the file.
    std::fs::write(&file, serde_json::to_vec(&kept).unwrap()).unwrap();
    office.resume().await;
    let now = heads(&office).await;
    assert_eq!((now.head.seq, now.anchor), (6, Some(now.head)));
    verify(&office).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_the_same_time_stand_one_after_the_other() {
    let office = Office::start().await;
    let names: Vec<String> = (0..40).map(|n| format!("b{n}")).collect();
    futures_util::future::join_all(names.iter().map(|name| office.add_branch(name))).await;
    let head = verify(&office).await.unwrap();
    assert_eq!((head.seq, heads(&office).await.anchor), (40, Some(head)));
}
