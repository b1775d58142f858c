//! Bounds the tokens that an operator makes in a time.
//!
//! Each leaves a row in the audit, which is never removed.

use std::time::Duration;

use fleet_types::OperatorName;
use service_kit::clock::instant;
use service_kit::server::{ApiError, Tries};
use wire::Code;

/// Tokens that an operator makes in a row; then one a minute. As many as one may have, and some that replace others.
const AT_ONCE: u32 = 60;
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// Counts the tokens that each operator makes.
#[derive(Debug)]
pub struct TokenPace(Tries<OperatorName>);

impl Default for TokenPace {
    fn default() -> Self {
        Self(Tries::new(AT_ONCE, FORGIVEN_AFTER))
    }
}

impl TokenPace {
    /// Lets an operator make a token.
    ///
    /// # Errors
    /// It made too many within a short time.
    pub fn begin(&self, operator: &OperatorName) -> Result<(), ApiError> {
        self.0.begin(operator.clone(), instant()).map_err(|wait| {
            let detail = format!("{operator} requested too many tokens within a short time.");
            ApiError::new(Code::TooMany, detail, format!("Wait {} s, then try again.", wait.as_secs().max(1)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_one_operator_are_bounded_in_a_time() {
        let (pace, anna): (_, OperatorName) = (TokenPace::default(), "anna".parse().unwrap());
        let made = (0..200).filter(|_| pace.begin(&anna).is_ok()).count();
        assert_eq!(made, AT_ONCE as usize);
        pace.begin(&"ben".parse().unwrap()).unwrap();
    }
}
