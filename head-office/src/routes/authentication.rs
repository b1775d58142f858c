//! Branch servers by their bearer tokens.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::connection;
use service_kit::server::{ApiError, Authenticator, Caller};
use service_kit::token;
use wire::Code;

use crate::app::App;
use crate::db;

fn was_removed(branch: &BranchName, at: DateTime<Utc>) -> ApiError {
    let day = at.format("%Y-%m-%d");
    let detail = format!("The branch {branch} was removed from head office on {day}; this identity is void.");
    let remedy = "Stop this branch server. To take the branch back in, add it again at head office (filial branch add), \
        delete the server's identity file and give it the new join token.";
    ApiError::new(Code::BranchRemoved, detail, remedy)
}

/// Knows branches by the hash of the token that they were given when they enrolled.
pub struct BranchTokens(Arc<App>);

impl BranchTokens {
    /// Out of this application's database.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[async_trait]
impl Authenticator for BranchTokens {
    async fn authenticate(&self, bearer: &str) -> Result<Option<Caller>, ApiError> {
        let client = connection(&self.0.pool).await?;
        let hash = token::hash(bearer);
        let Some(branch) = db::branches::by_token(&client, &hash).await? else {
            let removed = db::branches::removed_by_token(&client, &hash).await?;
            return removed.map_or(Ok(None), |(branch, at)| Err(was_removed(&branch, at)));
        };
        db::branches::heard(&client, &branch, self.0.clock.now()).await?;
        Ok(Some(Caller::branch(branch)))
    }
}
