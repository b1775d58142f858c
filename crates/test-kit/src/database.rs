//! A database per test: a copy of a template that was migrated once.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::cluster::{Cluster, SHARED_CLUSTER};
use crate::wait::wait_for;

/// The cluster of this process, where no shared one was given.
///
/// Weak, so that the last test to end removes it.
static OWN: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

/// A separate database for one test, dropped with it.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    parameters: String,
    _cluster: Option<Arc<Cluster>>,
}

impl TestDatabase {
    /// An empty database.
    ///
    /// # Panics
    /// PostgreSQL cannot be started or refuses.
    pub async fn empty() -> Self {
        let (parameters, cluster) = cluster();
        let name = fresh_name();
        let admin = connect(&format!("{parameters} dbname=postgres")).await;
        run(&admin, &format!("CREATE DATABASE {name}")).await;
        Self { name, parameters, _cluster: cluster }
    }

    /// Creates a copy of the template `key`, and the template if it is the first in the cluster.
    ///
    /// `migrate` gets the template's connection string and must have closed its connections when it returns.
    ///
    /// # Panics
    /// PostgreSQL cannot be started or refuses.
    pub async fn from_template(key: &str, migrate: impl AsyncFnOnce(String)) -> Self {
        let (parameters, cluster) = cluster();
        let template = format!("template_{key}");
        let admin = connect(&format!("{parameters} dbname=postgres")).await;
        // Tests of one run are processes: the first one holds the rest until the template is whole.
        run(&admin, "SELECT pg_advisory_lock(42)").await;
        if !exists(&admin, &template).await {
            let making = format!("{template}_making");
            run(&admin, &format!("DROP DATABASE IF EXISTS {making} WITH (FORCE)")).await;
            run(&admin, &format!("CREATE DATABASE {making}")).await;
            migrate(format!("{parameters} dbname={making}")).await;
            let rename = format!("ALTER DATABASE {making} RENAME TO {template}");
            when_unused(&admin, &rename).await;
        }
        run(&admin, "SELECT pg_advisory_unlock(42)").await;
        let name = fresh_name();
        when_unused(&admin, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self { name, parameters, _cluster: cluster }
    }

    /// An empty database in a cluster of the test's own, which the test may stop and resume.
    ///
    /// # Panics
    /// PostgreSQL refuses.
    pub async fn in_cluster(cluster: &Cluster) -> Self {
        let (parameters, name) = (cluster.parameters(), fresh_name());
        let admin = connect(&format!("{parameters} dbname=postgres")).await;
        run(&admin, &format!("CREATE DATABASE {name}")).await;
        Self { name, parameters, _cluster: None }
    }

    /// The connection string.
    pub fn url(&self) -> String {
        format!("{} dbname={}", self.parameters, self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (parameters, name) = (self.parameters.clone(), self.name.clone());
        // A drop cannot wait for a future, and a test's runtime may be gone: a thread with its own.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let Ok((client, connection)) =
                    tokio_postgres::connect(&format!("{parameters} dbname=postgres"), NoTls).await
                else {
                    return;
                };
                tokio::spawn(connection);
                let _ = client.simple_query(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            });
        });
        let _ = dropping.join();
    }
}

#[expect(clippy::disallowed_methods, reason = "the test run's own switch")]
#[expect(clippy::expect_used, reason = "a test cannot go on without")]
fn cluster() -> (String, Option<Arc<Cluster>>) {
    if let Ok(parameters) = std::env::var(SHARED_CLUSTER) {
        return (parameters, None);
    }
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = own.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Cluster::start().expect("a throwaway PostgreSQL"));
        *own = Arc::downgrade(&started);
        started
    });
    (cluster.parameters(), Some(cluster))
}

fn fresh_name() -> String {
    format!("test_{}", hex::encode(rand::random::<[u8; 8]>()))
}

#[expect(clippy::panic, reason = "a test cannot go on without")]
async fn connect(url: &str) -> Client {
    match tokio_postgres::connect(url, NoTls).await {
        Ok((client, connection)) => {
            tokio::spawn(connection);
            client
        }
        Err(error) => panic!("cannot connect to the throwaway PostgreSQL ({url}): {error:?}"),
    }
}

#[expect(clippy::panic, reason = "a test cannot go on without")]
async fn run(client: &Client, sql: &str) {
    if let Err(error) = client.simple_query(sql).await {
        panic!("{sql}: {error:?}");
    }
}

/// Retries while the database is in use: PostgreSQL notices a closed client late.
async fn when_unused(client: &Client, sql: &str) {
    wait_for(sql, Duration::from_secs(30), async || match client.simple_query(sql).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error:?}")),
    })
    .await;
}

async fn exists(client: &Client, database: &str) -> bool {
    let sql = "SELECT 1 FROM pg_database WHERE datname = $1";
    client.query_opt(sql, &[&database]).await.ok().flatten().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_has_what_the_template_has_and_is_its_own() {
        let make = async |url: String| {
            let client = connect(&url).await;
            run(&client, "CREATE TABLE t (n int)").await;
        };
        let one = TestDatabase::from_template("kit_test", make).await;
        let two = TestDatabase::from_template("kit_test", make).await;
        let (first, second) = (connect(&one.url()).await, connect(&two.url()).await);
        run(&first, "INSERT INTO t VALUES (1)").await;
        let count: i64 = second.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
        assert_eq!(count, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stopped_cluster_refuses_and_a_resumed_one_remembers() {
        let mut cluster = Cluster::start().unwrap();
        let url = cluster.url("postgres");
        run(&connect(&url).await, "CREATE TABLE t (n int)").await;
        cluster.stop();
        assert!(tokio_postgres::connect(&url, NoTls).await.is_err());
        cluster.resume().unwrap();
        run(&connect(&url).await, "SELECT * FROM t").await;
    }
}
