//! The branches whose certificates make a connection to the machines' listener no stranger's.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use fleet_types::{BranchName, Digest};
use service_kit::database::{DatabaseError, GenericClient};
use trust::certificates::Checked;

use crate::db;

/// The keys of branch servers that enrolled and are not denied.
///
/// In memory: a handshake asks no database.
#[derive(Debug, Default)]
pub struct Holders {
    keys: RwLock<HashMap<BranchName, Digest>>,
    /// One reads at a time, so that what was read first does not replace what was read last.
    reading: tokio::sync::Mutex<()>,
}

impl Holders {
    /// Reads the keys from the database.
    ///
    /// # Errors
    /// As every statement.
    pub async fn refresh<C: GenericClient>(&self, c: &C) -> Result<(), DatabaseError> {
        let _reading = self.reading.lock().await;
        let keys = db::branches::keys(c).await?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into_iter().collect();
        Ok(())
    }

    /// Reads the keys after a change that is committed.
    ///
    /// A failure is only logged: the keys are read again every half minute.
    pub async fn follow<C: GenericClient>(&self, c: &C) {
        if let Err(error) = self.refresh(c).await {
            tracing::warn!(%error, "cannot read the keys of branch servers; they are read again within half a minute");
        }
    }

    /// Returns the name by which connections of a certificate are counted; none for a stranger.
    ///
    /// A branch server issues certificates for as many names as it likes, so that all of them count as its branch.
    pub fn name(&self, checked: &Checked) -> Option<String> {
        let (branch, issuer) = (checked.identity.branch()?, checked.issuer.as_ref()?);
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        (keys.get(branch) == Some(issuer)).then(|| format!("branch {branch}"))
    }
}
