//! Every statement of head office against the migrated schema.

use crate::support;
use service_kit::database::{connection, prepare_all};
use uuid::Uuid;
use wire::{Reason, ReasonCode};

#[tokio::test]
async fn every_statement_can_be_prepared_against_the_migrated_schema() {
    let database = support::database().await;
    let client = connection(&support::pool(&database.url()).await).await.unwrap();
    let complaints = prepare_all(&client, head_office::db::STATEMENTS).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let all: usize = head_office::db::STATEMENTS.iter().map(|list| list.len()).sum();
    assert!(all > 50, "only {all} statements: is a file missing from the list?");
}

#[tokio::test]
async fn every_file_of_db_is_in_the_list() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/db");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap().replace(".rs", ""))
        .filter(|name| name != "mod" && name != "row")
        .collect();
    files.sort();
    let mut listed: Vec<String> = head_office::db::STATEMENTS
        .iter()
        .map(|list| list[0].name.rsplit("::").nth(1).unwrap().to_owned())
        .filter(|module| !["jobs", "outbox", "audit", "operators", "sessions", "tokens"].contains(&module.as_str()))
        .collect();
    listed.sort();
    assert_eq!(listed, files);
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let database = support::database().await;
    let pool = support::pool(&database.url()).await;
    head_office::db::migrate(&pool).await.unwrap();
    let (one, two) = tokio::join!(head_office::db::migrate(&pool), head_office::db::migrate(&pool));
    one.unwrap();
    two.unwrap();
}

/// What earlier versions stored of releases: the sentence, and which reason it becomes.
const SENTENCES: [(&str, &str, &str); 9] = [
    (
        "The store lost a file: ab.seg is missing. Restore it from a backup and restart head office, or withdraw the release \
         and upload its archive again.",
        "store-file-missing",
        r#"{"file":"ab.seg"}"#,
    ),
    (
        "The store lost a file: ab.seg has 9 bytes instead of 10. Restore it from a backup and restart head office, or \
         withdraw the release and upload its archive again.",
        "store-file-cut",
        r#"{"file":"ab.seg","found":"9","length":"10"}"#,
    ),
    ("The upload expired: it was idle for too long. Upload the archive again.", "upload-expired", "{}"),
    (
        "The upload was cancelled by anna. Upload the archive again if it is needed after all.",
        "upload-cancelled",
        r#"{"operator":"anna"}"#,
    ),
    ("Rules that failed: digests, signatures.", "rules-failed", r#"{"rules":"digests, signatures"}"#),
    ("Rules that could not be evaluated: external.", "rules-unknown", r#"{"rules":"external"}"#),
    ("Warnings to be accepted: size-growth.", "warnings-open", r#"{"rules":"size-growth"}"#),
    (
        "1 of 2 signatures by release keys of kiosk are missing: sign the archive with `filial release sign`, and post the \
         file with `filial release post-signatures`.",
        "signatures-missing",
        r#"{"missing":"1","product":"kiosk","threshold":"2"}"#,
    ),
    ("Attempt 3 failed and will be repeated: no disk.", "unclassified", "{}"),
];

#[tokio::test]
async fn sentences_of_earlier_versions_become_reasons_and_read_as_before() {
    let database = support::database().await;
    let client = connection(&support::pool(&database.url()).await).await.unwrap();
    let insert = "INSERT INTO releases (id, state, reason, file_name, archive_bytes, created_by, created_at, changed_at, touched_at)
        VALUES ($1, 'uploading', $2, 'a.upd', 1, 'anna', now(), now(), now())";
    let mut ids = Vec::new();
    for (sentence, ..) in SENTENCES {
        let id = Uuid::new_v4();
        client.execute(insert, &[&id, &sentence]).await.unwrap();
        ids.push(id);
    }
    let reasons = async |id: Uuid| head_office::db::releases::find(&client, id).await.unwrap().unwrap().reasons;
    for (id, (sentence, ..)) in ids.iter().zip(SENTENCES) {
        assert_eq!(reasons(*id).await, [Reason::new(ReasonCode::Unclassified, sentence)], "without JSON");
    }
    // The migration's own statement, on rows as an earlier version leaves them.
    let migration = include_str!("../../migrations/V15__reasons.sql");
    client.batch_execute(&migration[migration.find("UPDATE releases").unwrap()..]).await.unwrap();
    for (id, (sentence, code, params)) in ids.iter().zip(SENTENCES) {
        let [reason] = &reasons(*id).await[..] else { panic!("{sentence}") };
        assert_eq!((&reason.code, reason.sentence()), (&ReasonCode::from(code), sentence.to_owned()));
        assert_eq!(serde_json::to_string(&reason.params).unwrap(), params);
    }
    // An earlier version goes on writing sentences: what stands beside them is out of date.
    client.execute("UPDATE releases SET reason = 'Another.' WHERE id = $1", &[&ids[0]]).await.unwrap();
    assert_eq!(reasons(ids[0]).await, [Reason::new(ReasonCode::Unclassified, "Another.")]);
}

/// A pass that looks at torrents without peers asks for those that are seeded: many others do not crowd them out.
#[tokio::test]
async fn what_is_fetched_is_found_beside_a_hundred_others() {
    let database = support::database().await;
    let client = connection(&support::pool(&database.url()).await).await.unwrap();
    let rows = "INSERT INTO branches (name, created_by, created_at) VALUES ('north', 'test', now());
        INSERT INTO branch_artifacts (branch, artifact, have_bytes, complete, at)
            SELECT 'north', lpad(to_hex(n), 64, '0'), 0, n = 500, now() FROM generate_series(1, 500) n";
    client.batch_execute(rows).await.unwrap();
    let digest = |n: u16| format!("{n:064x}").parse().unwrap();
    let found = head_office::db::branches::fetched(&client, &[digest(499), digest(500), digest(600)]).await.unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [digest(499)]);
}
