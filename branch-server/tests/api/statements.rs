//! Every statement fits the migrated schema (invariant 9).

use branch_server::db;
use service_kit::Shutdown;
use service_kit::database::{DatabaseSettings, connect, connection, prepare_all};

use crate::support::database;

#[tokio::test]
async fn every_statement_can_be_prepared_against_the_migrated_schema() {
    let database = database().await;
    let pool = connect(&DatabaseSettings::new(database.url()), &Shutdown::new()).await.unwrap();
    let client = connection(&pool).await.unwrap();
    let complaints = prepare_all(&client, db::STATEMENTS).await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(db::STATEMENTS.iter().map(|list| list.len()).sum::<usize>() > 50);
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let database = database().await;
    let pool = connect(&DatabaseSettings::new(database.url()), &Shutdown::new()).await.unwrap();
    db::migrate(&pool).await.unwrap();
    db::migrate(&pool).await.unwrap();
}
