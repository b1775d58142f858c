//! What head office says must not be let in, although this server does not know it, or knows it as let in: its database may be
//! new, or restored from a copy.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use fleet_types::TerminalName;
use service_kit::database::{DatabaseError, Pool, begin, commit, connection};
use service_kit::server::ApiError;
use trust::PublicKey;
use wire::Code;
use wire::v1::sync::DeniedMachines;

use crate::db::{relay_queue, site, terminals};
use crate::reports::relay;

/// The list of head office's last answer, in memory.
#[derive(Debug, Default)]
pub struct Denied {
    list: Mutex<Option<DeniedMachines>>,
    /// The terminals that an admin allowed here since head office was asked last.
    allowed: Mutex<BTreeSet<TerminalName>>,
}

impl Denied {
    /// Keeps what head office answered.
    pub fn set(&self, denied: DeniedMachines) {
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = Some(denied);
    }

    /// Remembers that an admin allows a terminal here, which the answer on its way does not know. The transaction must hold the
    /// site's row.
    pub fn allow(&self, terminal: &TerminalName) {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).insert(terminal.clone());
    }

    /// Returns the terminals about which head office's answer may be older than what an admin did here.
    ///
    /// # Errors
    /// As every statement.
    pub async fn before_asking(&self, pool: &Pool) -> Result<BTreeSet<TerminalName>, DatabaseError> {
        let mut client = connection(pool).await?;
        let tx = begin(&mut client).await?;
        // Allowing a terminal takes this row: what came before is in the queue or at head office, what comes later in `allowed`.
        site::lock(&tx).await?;
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let waiting = relay_queue::terminals(&tx, relay::DENIED).await?;
        commit(tx).await?;
        Ok(waiting)
    }

    /// Denies the terminals of a list that this server lets in, as after its database was restored from a copy, and returns them.
    ///
    /// Those of `allowed`, and what was allowed since, are skipped: head office has not heard of it.
    ///
    /// # Errors
    /// As every statement.
    pub async fn deny_known(
        &self,
        pool: &Pool,
        listed: &[TerminalName],
        mut allowed: BTreeSet<TerminalName>,
        now: DateTime<Utc>,
    ) -> Result<Vec<TerminalName>, DatabaseError> {
        let mut client = connection(pool).await?;
        if listed.is_empty() || terminals::let_in(&client, listed).await?.is_empty() {
            return Ok(Vec::new());
        }
        let tx = begin(&mut client).await?;
        site::lock(&tx).await?;
        allowed.extend(self.allowed.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        let mut denied = terminals::let_in(&tx, listed).await?;
        denied.retain(|terminal| !allowed.contains(terminal));
        for terminal in &denied {
            terminals::deny(&tx, terminal, now).await?;
        }
        commit(tx).await?;
        Ok(denied)
    }

    /// Whether the list names a terminal. False while there is none: a join token is enough then.
    pub fn names(&self, terminal: &TerminalName) -> bool {
        let held = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(|denied| denied.terminals.contains(terminal))
    }

    /// Whether the list names a key that was replaced by another. False while there is none.
    pub fn has_key(&self, key: &PublicKey) -> bool {
        let held = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(|denied| denied.keys.contains(&key.to_string()))
    }

    /// Returns the list, by which alone a former certificate can be judged.
    ///
    /// # Errors
    /// Head office has not told it since this server started.
    pub fn known(&self) -> Result<DeniedMachines, ApiError> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| {
            let detail = "This branch server has not heard from head office yet which terminals are denied.";
            ApiError::new(
                Code::NotReady,
                detail,
                "Try again once it has reached head office, or enrol with the join token.",
            )
        })
    }
}
