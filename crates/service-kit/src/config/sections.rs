//! Sections that several programs have, with the same keys in each.

#[cfg(feature = "server")]
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

#[cfg(feature = "database")]
use super::read_secret_file;
#[cfg(any(feature = "server", feature = "database"))]
use super::{ConfigError, check};
#[cfg(feature = "database")]
use crate::Secret;

/// `[machines]`: the listener for the next tier.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MachinesInputs {
    /// Address and port.
    pub listen: Option<String>,
}

/// `[requests]`: what callers of any listener may take.
#[cfg(feature = "server")]
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestsInputs {
    /// How long the head of a request, and then its body, may take to arrive.
    pub timeout_seconds: Option<f64>,
    /// Most connections of one listener.
    pub connections: Option<usize>,
    /// Most connections from one address on which no request was let in yet.
    pub strangers_per_address: Option<usize>,
    /// Addresses of proxies that say in X-Forwarded-For who asks.
    pub trusted_proxies: Vec<IpAddr>,
}

#[cfg(feature = "server")]
impl RequestsInputs {
    /// Checks the values.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn check(self) -> Result<crate::server::Limits, ConfigError> {
        let default = crate::server::Limits::default();
        let key = "requests.timeout_seconds";
        let request = check::seconds(self.timeout_seconds, key, default.request.as_secs_f64())?;
        let connections = self.connections.unwrap_or(default.connections);
        let strangers_per_address = self.strangers_per_address.unwrap_or(default.strangers_per_address);
        Ok(crate::server::Limits {
            request,
            stalled: request,
            connections: check::within(connections, 16, 1_000_000, "requests.connections")?,
            strangers_per_address: check::within(strangers_per_address, 4, 100_000, "requests.strangers_per_address")?,
            trusted_proxies: self.trusted_proxies.iter().map(IpAddr::to_canonical).collect(),
            ..default
        })
    }
}

/// A section that names a folder and nothing else, such as `[state]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FolderInputs {
    /// Its path.
    pub folder: Option<PathBuf>,
}

/// `[database]`: PostgreSQL.
#[cfg(feature = "database")]
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseInputs {
    /// `postgresql://user@/database?host=/run/postgresql`, or key=value pairs.
    pub url: Option<Secret>,
    /// The file with the password, if it is not in the URL.
    pub password_file: Option<PathBuf>,
    /// Most connections.
    pub pool_size: Option<usize>,
}

#[cfg(feature = "database")]
impl DatabaseInputs {
    /// Checks the values and reads the password. `url` is an example of one. Blocking.
    ///
    /// # Errors
    /// A value is absent or cannot be used, or the password cannot be read.
    pub fn check(self, url: &str) -> Result<crate::database::DatabaseSettings, ConfigError> {
        let key = "database.url";
        let mut settings = crate::database::DatabaseSettings::new(check::required(self.url, key, url)?.expose());
        // What was given stays out of the text: it may hold a password.
        settings.config().map_err(|_| check::wrong(key, "the value is not an address of PostgreSQL", url))?;
        settings.password = self.password_file.as_deref().map(read_secret_file).transpose()?;
        let size = self.pool_size.unwrap_or(settings.pool_size);
        settings.pool_size = check::within(size, 4, 256, "database.pool_size")?;
        Ok(settings)
    }
}

#[cfg(all(test, feature = "database"))]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_database_is_checked_and_not_shown() {
        let example = "postgresql://filial@/filial?host=/run/postgresql";
        let of = |url: &str| DatabaseInputs { url: Some(Secret::new(url)), ..DatabaseInputs::default() };
        assert_eq!(of(example).check(example).unwrap().pool_size, 16);
        let error = of("postgresql://filial:hunter2@/x?hosst=y").check(example).unwrap_err().to_string();
        assert!(error.contains("database.url") && !error.contains("hunter2"), "{error}");
        let error = DatabaseInputs { pool_size: Some(1), ..of(example) }.check(example).unwrap_err().to_string();
        assert!(error.contains("database.pool_size"), "{error}");
    }
}
