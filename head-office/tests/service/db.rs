//! Every statement of head office against the migrated schema.

use crate::support;
use service_kit::database::{connection, prepare_all};

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
        .filter(|module| module != "jobs" && module != "outbox")
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
