//! Databases with the branch server's schema, and the operators of tests.

use branch_server::db;
use chrono::{DateTime, TimeDelta};
use fleet_types::OperatorName;
use service_kit::database::{DatabaseSettings, Pool, connect, connection};
use service_kit::{Shutdown, token};
use test_kit::TestDatabase;
use uuid::Uuid;
use wire::v1::operators::OperatorRole::{self, Admin, Operator, Viewer};
use wire::v1::operators::Token;

use super::{ADMIN, OPERATOR, VIEWER};

pub async fn database() -> TestDatabase {
    TestDatabase::from_template("branch_server", async |url| {
        let pool = connect(&DatabaseSettings::new(url), &Shutdown::new()).await.unwrap();
        db::migrate(&pool).await.unwrap();
        give_tokens(&pool).await;
        pool.close();
    })
    .await
}

/// A database with the schema and no operators.
pub async fn empty_database() -> TestDatabase {
    TestDatabase::from_template("branch_server_empty", async |url| {
        let pool = connect(&DatabaseSettings::new(url), &Shutdown::new()).await.unwrap();
        db::migrate(&pool).await.unwrap();
        pool.close();
    })
    .await
}

/// Adds a service with its token for each role that tests use.
pub async fn give_tokens(pool: &Pool) {
    for (role, secret) in [(Viewer, VIEWER), (Operator, OPERATOR), (Admin, ADMIN)] {
        give_token(pool, role, secret).await;
    }
}

/// A service called as its role, with this token.
async fn give_token(pool: &Pool, role: OperatorRole, secret: &str) {
    let (client, made) = (connection(pool).await.unwrap(), DateTime::UNIX_EPOCH);
    let operator: OperatorName = role.as_str().parse().unwrap();
    access::db::operators::insert(&client, &operator, role, None, "test", made).await.unwrap();
    let (id, name, expires) = (Uuid::new_v4(), "test".to_owned(), made + TimeDelta::days(36_500));
    let kept = Token { id, operator, name, role, scope: None, made, expires, last_used: None, revoked: None };
    access::db::tokens::insert(&client, &kept, &token::hash(secret)).await.unwrap();
}
