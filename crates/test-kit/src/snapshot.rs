//! What a database and folders hold, to be compared before and after.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio_postgres::NoTls;

/// Names of tables and files, and what identifies their content.
pub type Snapshot = BTreeMap<String, String>;

/// Reads a database's tables, except the columns `passing`, and every file of `folders`.
///
/// # Panics
/// The database or a folder cannot be read.
pub async fn snapshot(url: &str, passing: &[&str], folders: &[&Path]) -> Snapshot {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap_or_else(|e| panic!("{e}"));
    let connection = tokio::spawn(connection);
    let tables = "SELECT table_name::text FROM information_schema.tables
        WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1";
    let mut found = Snapshot::new();
    for row in client.query(tables, &[]).await.unwrap_or_else(|e| panic!("{e}")) {
        let table: String = row.get(0);
        // In the order of their content: a row that was only written again is where it was.
        let digest = format!(
            "SELECT count(*)::text || ' rows ' || coalesce(md5(string_agg(t, '' ORDER BY t)), '')
             FROM (SELECT (to_jsonb(r) - $1::text[])::text AS t FROM {table} r) AS rows"
        );
        let row = client.query_one(&digest, &[&passing]).await.unwrap_or_else(|e| panic!("{table}: {e:?}"));
        found.insert(format!("table {table}"), row.get(0));
    }
    drop(client);
    connection.abort();
    for folder in folders {
        walk(folder, &mut found);
    }
    found
}

fn walk(folder: &Path, found: &mut Snapshot) {
    let mut entries: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|e| e.unwrap_or_else(|e| panic!("{e}")).path()).collect(),
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.insert(format!("folder {}", path.display()), String::new());
            walk(&path, found);
        } else {
            let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            found.insert(format!("file {}", path.display()), format!("{} bytes {:x}", bytes.len(), sum(&bytes)));
        }
    }
}

/// FNV-1a (Fowler, Noll, Vo): enough to see a change, and no dependency.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
