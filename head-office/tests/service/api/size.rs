//! A fleet of 1,000 branches with ten terminals each and 10,000 releases of history: every list is walked to its end by page,
//! answers stay small, statements few, and no big table is read from end to end.

use std::collections::BTreeSet;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::json;
use service_kit::database::{Connection, connection};
use service_kit::server::Role;
use test_kit::wait_for;
use wire::Code;
use wire::v1::fleet::{Branch, Terminal};
use wire::v1::releases::{Release, Withdrawn};
use wire::v1::status::Status;

use crate::api::refusal;
use crate::support::{Office, PATIENCE, count};

const BRANCHES: usize = 1000;
const TERMINALS: usize = 10_000;
const RELEASES: usize = 10_000;
/// A page of any list has at most so many bytes.
const PAGE_BYTES: usize = 2 << 20;
/// The picture of everything, at its bounds.
const STATUS_BYTES: usize = 4 << 20;

/// Fills the database by series; release 10,000 is the only one that is published, and every branch has it assigned.
const FILL: &str = "
INSERT INTO releases (id, state, file_name, archive_bytes, product, version, manifest, manifest_sha256, report, created_by,
        created_at, changed_at, touched_at)
    SELECT gen_random_uuid(), CASE WHEN n = 10000 THEN 'published' WHEN n % 3 = 0 THEN 'rejected' ELSE 'withdrawn' END,
        'kiosk.upd', 1000, 'kiosk', '1.0.' || n, '', lpad(to_hex(n), 64, '0'), '{\"findings\": []}', 'test', t, t, t
    FROM (SELECT n, timestamptz '2029-01-01' + n / 4 * interval '1 minute' AS t FROM generate_series(1, 10000) n) s;
INSERT INTO artifacts (sha256, length, index_sha256, index_length, info_hash, torrent, payload_sha256, created_at)
    VALUES (repeat('a', 64), 1000, repeat('b', 64), 10, repeat('c', 40), '', repeat('d', 64), '2029-01-01');
INSERT INTO payloads (release_id, position, name, kind, compatible, archive_offset, length, sha256, artifact_sha256)
    SELECT id, 0, 'rootfs', 'slot-image', '{k1}', 512, 4000, repeat('d', 64),
        CASE WHEN state = 'published' THEN repeat('a', 64) END FROM releases;
INSERT INTO branches (name, token_sha256, created_by, created_at, enrolled_at, last_heard)
    SELECT 'b' || lpad(n::text, 4, '0'), lpad(to_hex(n), 64, '0'), 'test', '2029-01-01', '2029-01-01', '2030-01-01'
    FROM generate_series(1, 1000) n;
INSERT INTO terminals (branch, name, model, slot_bytes, data_bytes, agent_version, created_at, last_heard)
    SELECT b.name, 'till-' || n, 'k1', 67108864, 1073741824, '0.1.0', '2029-01-01', '2030-01-01'
    FROM branches b, generate_series(1, 10) n;
INSERT INTO updates (branch, terminal, product, serial, version, payload_sha256, state, segments_done, segments_total, since)
    SELECT branch, name, 'kiosk', n, '1.0.' || n, repeat('e', 64), 'confirmed', 10, 10, '2029-01-01'
    FROM terminals, generate_series(1, 5) n;
INSERT INTO plans (branch, serial, issued, expires, steps, envelope)
    SELECT name, n, '2030-01-01', '2030-01-31', '[]', '{}' FROM branches, generate_series(1, 20) n;
INSERT INTO assignments (branch, product, release_id, downgrade, assigned_by, assigned_at)
    SELECT b.name, 'kiosk', r.id, false, 'test', '2029-01-01' FROM branches b, releases r WHERE r.state = 'published';
ANALYZE;";

async fn filled() -> (Office, Connection) {
    let office = Office::start().await;
    // The task that issues due plans runs once at the start: not in the middle of what a test measures.
    wait_for("the first run of the task plans", PATIENCE, async || {
        let status: Status = office.admin().get("/v1/status").await.unwrap();
        let plans = status.background.into_iter().find(|task| task.name == "plans");
        plans.filter(|task| task.runs > 0).map(drop).ok_or("it has not run")
    })
    .await;
    let client = connection(&office.pool().await).await.unwrap();
    client.batch_execute(FILL).await.unwrap();
    (office, client)
}

/// Every page of a list, by its `Link` headers; the largest body's bytes.
async fn walk<T: DeserializeOwned>(office: &Office, first: &str) -> (Vec<T>, usize, usize) {
    let viewer = office.as_role(Role::Viewer);
    let (mut all, mut next, mut largest, mut pages) = (Vec::new(), Some(first.to_owned()), 0, 0);
    while let Some(path) = next {
        let answer = viewer.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        next = answer.headers().get("link").map(|link| {
            let link = link.to_str().unwrap();
            link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned()
        });
        let body = answer.bytes().await.unwrap();
        (largest, pages) = (largest.max(body.len()), pages + 1);
        all.extend(serde_json::from_slice::<Vec<T>>(&body).unwrap());
    }
    (all, largest, pages)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_walked_to_its_end_in_pages_of_bounded_size() {
    let (office, _) = filled().await;
    let (releases, largest, pages) = walk::<Release>(&office, "/v1/releases?limit=1000").await;
    assert!((releases.len(), pages) == (RELEASES, 10) && largest < PAGE_BYTES, "{} {pages} {largest}", releases.len());
    assert_eq!(releases.iter().map(|r| r.id).collect::<BTreeSet<_>>().len(), RELEASES, "each once");
    // Four of each time: the order holds among those too.
    assert!(releases.windows(2).all(|w| (w[0].created, w[0].id) > (w[1].created, w[1].id)));
    let (branches, largest, pages) = walk::<Branch>(&office, "/v1/branches").await;
    assert!((branches.len(), pages) == (BRANCHES, 5) && largest < PAGE_BYTES, "{} {pages} {largest}", branches.len());
    assert!(branches.windows(2).all(|w| w[0].name < w[1].name));
    assert!(branches.iter().all(|b| b.terminals == 10 && b.assignments.len() == 1));
    let (terminals, largest, pages) = walk::<Terminal>(&office, "/v1/terminals?limit=1000").await;
    assert!((terminals.len(), pages) == (TERMINALS, 10) && largest < PAGE_BYTES, "{} {largest}", terminals.len());
    assert!(terminals.iter().all(|t| t.update.as_ref().unwrap().serial == 5), "the newest update of each");
    let (of_one, ..) = walk::<Terminal>(&office, "/v1/terminals?branch=b0500&limit=3").await;
    assert_eq!(of_one.len(), 10);

    // The picture is cut, and says by how much.
    let body = office.admin().get_bytes("/v1/status", STATUS_BYTES).await.unwrap();
    let status: Status = serde_json::from_slice(&body).unwrap();
    assert_eq!((status.releases.len(), status.branches.len(), status.terminals.len()), (20, 1000, 1000));
    assert_eq!((status.left_out.releases, status.left_out.branches, status.left_out.terminals), (9980, 0, 9000));

    // The client that follows pages gets all of them; one version is found among all.
    let all: Vec<Branch> = office.admin().get_all("/v1/branches?limit=7").await.unwrap();
    assert_eq!(all.len(), BRANCHES);
    let one: Vec<Release> = office.admin().get_all("/v1/releases?product=kiosk&version=1.0.17").await.unwrap();
    assert_eq!(one.iter().map(|r| r.version.as_ref().unwrap().to_string()).collect::<Vec<_>>(), ["1.0.17"]);
    for bad in ["releases?limit=0", "branches?limit=1001", "terminals?after=north", "releases?version=1.0.0"] {
        let answer = office.admin().get::<serde_json::Value>(&format!("/v1/{bad}")).await;
        assert_eq!(refusal(answer), Code::BadField, "{bad}");
    }
    let nowhere = format!("/v1/releases?after={}", uuid::Uuid::new_v4());
    assert_eq!(refusal(office.admin().get::<serde_json::Value>(&nowhere).await), Code::BadField);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_found_by_index() {
    let (_office, client) = filled().await;
    let plans = [
        (
            "releases",
            "SELECT id FROM releases WHERE (created_at, id) < ('2029-01-01 12:00', '7f2c1a52-0000-4000-8000-000000000001')
            ORDER BY created_at DESC, id DESC LIMIT 101",
        ),
        (
            "releases",
            "SELECT id FROM releases WHERE product = 'kiosk' AND version = '1.0.7'
            AND (created_at, id) < ('2031-01-01', gen_random_uuid()) ORDER BY created_at DESC, id DESC LIMIT 101",
        ),
        ("branches", "SELECT name FROM branches WHERE name > 'b0500' ORDER BY name LIMIT 201"),
        (
            "terminals",
            "SELECT name FROM terminals WHERE (branch, name) > ('b0500', 'till-3')
            ORDER BY branch, name LIMIT 201",
        ),
        ("assignments", "SELECT branch FROM assignments WHERE release_id = '7f2c1a52-0000-4000-8000-000000000001'"),
        (
            "updates",
            "SELECT u.id FROM unnest('{b0001,b0002}'::text[], '{till-1,till-2}'::text[]) AS t (branch, name)
            CROSS JOIN LATERAL (SELECT * FROM updates WHERE branch = t.branch AND terminal = t.name
                ORDER BY id DESC LIMIT 1) AS u",
        ),
        (
            "plans",
            "SELECT p.serial FROM unnest('{b0001,b0002}'::text[]) AS b (name) CROSS JOIN LATERAL
            (SELECT * FROM plans WHERE branch = b.name ORDER BY serial DESC LIMIT 1) AS p",
        ),
    ];
    for (table, sql) in plans {
        let rows = client.query(&format!("EXPLAIN {sql}"), &[]).await.unwrap();
        let plan: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(!plan.contains(&format!("Seq Scan on {table}")) && plan.contains("Index"), "{sql}:\n{plan}");
    }
}

/// Makes every branch's plan name the published release's artifact; returns that release.
async fn planned_everywhere(client: &Connection) -> uuid::Uuid {
    let name_it = "UPDATE plans SET steps = '[{\"terminals\": [\"till-1\"], \"product\": \"kiosk\", \"version\":
        \"1.0.10000\", \"manifest\": \"' || repeat('0', 64) || '\", \"payload\": {\"name\": \"rootfs\", \"sha256\": \"'
        || repeat('d', 64) || '\", \"length\": 4000}, \"artifact\": {\"sha256\": \"' || repeat('a', 64) || '\",
        \"length\": 1000, \"index_sha256\": \"' || repeat('b', 64) || '\", \"index_length\": 10, \"info_hash\": \"'
        || repeat('c', 40) || '\"}, \"downgrade\": false}]'";
    let name_it = name_it.replacen("steps = '", "steps = ('", 1) + ")::jsonb WHERE serial = 20";
    assert_eq!(client.execute(&name_it, &[]).await.unwrap(), BRANCHES as u64);
    client.query_one("SELECT id FROM releases WHERE state = 'published'", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawing_from_a_thousand_branches_plans_them_in_batches() {
    let (office, client) = filled().await;
    let pool = office.pool().await;
    let release = planned_everywhere(&client).await;
    let path = format!("/v1/releases/{release}/withdraw");
    let done: Withdrawn = office.admin().post(&path, &json!({ "reason": "Receipts print twice." })).await.unwrap();
    assert_eq!(done.branches, BRANCHES as u64);
    assert_eq!(count(&pool, "SELECT count(*) FROM plans WHERE serial > 20 AND steps = '[]'").await, 1000);
    assert_eq!(count(&pool, "SELECT count(*) FROM events WHERE audience LIKE 'branch:%'").await, 1000);
    // One statement writes a hundred plans: rows of one statement share its command number within the transaction.
    let statements = "SELECT count(DISTINCT (xmin::text, cmin::text)) FROM plans WHERE serial > 20";
    assert_eq!(count(&pool, statements).await, 10);
    let events = "SELECT count(DISTINCT (xmin::text, cmin::text)) FROM events WHERE audience LIKE 'branch:%'";
    assert_eq!(count(&pool, events).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_and_a_tick_of_one_branch_do_not_deadlock() {
    let (office, mut client) = filled().await;
    let pool = office.pool().await;
    let release = planned_everywhere(&client).await;
    // As a tick of the last branch does: first the branch, then the artifact that its plan named.
    let tick = client.transaction().await.unwrap();
    tick.execute("SELECT FROM branches WHERE name = 'b1000' FOR UPDATE", &[]).await.unwrap();
    let (admin, path) = (office.admin(), format!("/v1/releases/{release}/withdraw"));
    let withdrawal =
        tokio::spawn(
            async move { admin.post::<_, Withdrawn>(&path, &json!({ "reason": "Receipts print twice." })).await },
        );
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait_for("the withdrawal to wait for the branch", PATIENCE, async || match count(&pool, waits).await {
        0 => Err("it does not wait"),
        _ => Ok(()),
    })
    .await;
    tick.execute("UPDATE artifacts SET last_named = '2030-01-02'", &[]).await.unwrap();
    tick.commit().await.unwrap();
    assert_eq!(withdrawal.await.unwrap().unwrap().branches, BRANCHES as u64);
}
