//! Branch servers by their bearer tokens.

use std::sync::Arc;

use async_trait::async_trait;
use service_kit::database::connection;
use service_kit::server::{ApiError, Authenticator, Caller};
use service_kit::token;

use crate::app::App;
use crate::db;

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
        let Some(branch) = db::branches::by_token(&client, &token::hash(bearer)).await? else { return Ok(None) };
        db::branches::heard(&client, &branch, self.0.clock.now()).await?;
        Ok(Some(Caller::branch(branch)))
    }
}
