//! How long operators stay in: the keys of `[operators]` that every server has.

use chrono::TimeDelta;
use service_kit::config::ConfigError;
use service_kit::config::check::within;

/// How long operators stay in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessSettings {
    /// Idle sessions end after this time.
    pub session_idle: TimeDelta,
    /// A session ends after so long, however it is used.
    pub session_life: TimeDelta,
    /// The longest that a token may live, in days.
    pub token_days: u32,
}

impl AccessSettings {
    /// Checks the values of `[operators]`; absent ones get their defaults.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn check(
        session_idle_minutes: Option<u32>,
        session_hours: Option<u32>,
        token_days: Option<u32>,
    ) -> Result<Self, ConfigError> {
        let idle = within(session_idle_minutes.unwrap_or(30), 1, 1440, "operators.session_idle_minutes")?;
        let hours = within(session_hours.unwrap_or(12), 1, 720, "operators.session_hours")?;
        Ok(Self {
            session_idle: TimeDelta::minutes(i64::from(idle)),
            session_life: TimeDelta::hours(i64::from(hours)),
            token_days: within(token_days.unwrap_or(366), 1, 3660, "operators.token_days")?,
        })
    }
}
