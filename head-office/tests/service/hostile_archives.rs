//! Every hostile archive through a running head office: refused under its code, and nothing of it stays.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use crate::support;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::support::tus::{create, patch, request, upload};
use crate::support::{Office, PATIENCE};
use fleet_types::ReleaseState;
use hostile::{MODEL, ManyMembers, archives, good_archive};
use service_kit::client::JsonClient;
use service_kit::database::{Pool, connection};
use service_kit::server::Role;
use test_kit::wait_for;
use uuid::Uuid;
use wire::ReasonCode;
use wire::v1::releases::{Release, Verdict};

/// What one chunk of the long archive holds, in bytes.
const CHUNK: u64 = 32 << 20;

/// The content of every table as a digest, without what belongs to release `own` alone: its row, its jobs, its events.
async fn tables(pool: &Pool, own: Uuid) -> BTreeMap<String, String> {
    let client = connection(pool).await.unwrap();
    let sql = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
    let names: Vec<String> = client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(names.len() > 10 && names.iter().any(|n| n == "payloads"), "{names:?}");
    let mut found = BTreeMap::new();
    // Who uploads is in the audit, whose end moves on, and the token notes when it was used.
    for name in names.into_iter().filter(|name| !["audit_head", "tokens"].contains(&name.as_str())) {
        let sql = format!(
            "SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM \"{name}\" t
             WHERE t::text NOT LIKE '%{own}%'"
        );
        found.insert(name, client.query_one(&sql, &[]).await.unwrap().get(0));
    }
    found
}

/// Every file and folder below `folder`, with the length of each file.
fn listing(folder: &Path) -> BTreeSet<(PathBuf, u64)> {
    let mut found = BTreeSet::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in folder.read_dir().unwrap().map(Result::unwrap) {
            let kind = entry.metadata().unwrap();
            found.insert((entry.path(), if kind.is_file() { kind.len() } else { 0 }));
            if kind.is_dir() {
                left.push(entry.path());
            }
        }
    }
    found
}

struct Before {
    tables: BTreeMap<String, String>,
    files: BTreeSet<(PathBuf, u64)>,
}

impl Before {
    async fn of(office: &Office, pool: &Pool) -> Self {
        // The job of the archive before is noted as done a moment after its file is gone.
        let open = "SELECT count(*) FROM jobs WHERE done_at IS NULL";
        wait_for("every job to be noted as done", PATIENCE, async || match support::count(pool, open).await {
            0 => Ok(()),
            n => Err(n),
        })
        .await;
        Self { tables: tables(pool, Uuid::nil()).await, files: listing(&office.settings.store.folder) }
    }

    /// Waits until the store is as it was; the database then has to be.
    async fn holds(&self, office: &Office, pool: &Pool, name: &str, id: Uuid) {
        wait_for(&format!("the store to be as before {name}"), PATIENCE, async || {
            let files = listing(&office.settings.store.folder);
            if files == self.files { Ok(()) } else { Err(format!("{files:?}")) }
        })
        .await;
        assert_eq!(tables(pool, id).await, self.tables, "{name} left something in the database");
    }
}

fn expect_code(release: &Release, name: &str, code: &str) {
    let findings = &release.report.as_ref().unwrap().findings;
    for finding in findings.iter().filter(|f| f.verdict != Verdict::Pass) {
        assert!(!finding.cause.is_empty() && !finding.remedy.is_empty(), "{name}: {finding:?}");
    }
    let codes: Vec<_> = findings.iter().filter_map(|f| f.code.as_deref()).collect();
    assert!(codes.contains(&code), "{name}: {code} is not among {codes:?}");
    let reason = release.why();
    assert!(
        !reason.is_empty() && release.reason(ReasonCode::Unclassified).is_none() && release.payloads.is_empty(),
        "{name}: {release:?}"
    );
}

async fn office() -> Office {
    let office = Office::with(|settings| settings.uploads.max_bytes = 1 << 30).await;
    office.branch("north", MODEL, &["till-1"]).await;
    office
}

/// A good archive is judged as ever; without daemons here, publishing it does not get further.
async fn a_good_one_still_goes_through(office: &Office, manager: &JsonClient) {
    let id = upload(manager, &good_archive()).await;
    wait_for("the good archive to be taken", PATIENCE, async || {
        let release = office.release(id).await;
        let taken = [ReleaseState::Approved, ReleaseState::Publishing].contains(&release.state);
        if taken { Ok(()) } else { Err(format!("{release:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_archive_is_rejected_under_its_code_and_nothing_of_it_stays() {
    let office = office().await;
    let (manager, pool) = (office.as_role(Role::ReleaseManager), office.pool().await);
    let mut codes = BTreeSet::new();
    for file in archives() {
        let before = Before::of(&office, &pool).await;
        if file.bytes.is_empty() {
            // Not even begun.
            let begin = request(&manager, reqwest::Method::POST, "/v1/uploads").header("Upload-Length", 0);
            assert_eq!(begin.send().await.unwrap().status(), 422, "{}", file.name);
            before.holds(&office, &pool, file.name, Uuid::nil()).await;
            continue;
        }
        let id = upload(&manager, &file.bytes).await;
        let release = office.wait_for_state(id, ReleaseState::Rejected).await;
        expect_code(&release, file.name, file.code);
        codes.insert(file.code);
        before.holds(&office, &pool, file.name, id).await;
    }
    println!("{} archives, {} codes", archives().len(), codes.len());
    assert!(codes.len() >= 30, "{codes:?}");
    a_good_one_still_goes_through(&office, &manager).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_a_million_members_is_rejected_and_removed() {
    let office = office().await;
    let (manager, pool) = (office.as_role(Role::ReleaseManager), office.pool().await);
    let before = Before::of(&office, &pool).await;
    let mut archive = ManyMembers::new(1_000_000);
    let id = create(&manager, usize::try_from(archive.length()).unwrap()).await;
    let (mut at, mut chunk) = (0, Vec::new());
    while at < archive.length() {
        chunk.clear();
        (&mut archive).take(CHUNK).read_to_end(&mut chunk).unwrap();
        assert_eq!(patch(&manager, id, at, &chunk).await.status(), 204);
        at += chunk.len() as u64;
    }
    let release = office.wait_for_state(id, ReleaseState::Rejected).await;
    expect_code(&release, "a-million-members", "archive-too-many-members");
    before.holds(&office, &pool, "a-million-members", id).await;
    a_good_one_still_goes_through(&office, &manager).await;
}
