//! Wrong passwords, counted by name and by address.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use fleet_types::OperatorName;
use service_kit::clock::instant;
use service_kit::server::{ApiError, Tries, network};
use wire::Code;

/// Wrong passwords for a name in a row; then one in each half minute.
const NAME_TRIES: u32 = 10;
const NAME_FORGIVEN: Duration = Duration::from_secs(30);
/// Wrong passwords from an address in a row; then one in each two seconds.
const ADDRESS_TRIES: u32 = 30;
const ADDRESS_FORGIVEN: Duration = Duration::from_secs(2);

/// Counts wrong passwords by name and by address.
#[derive(Debug)]
pub struct Guesses {
    names: Tries<OperatorName>,
    addresses: Tries<IpAddr>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { names: Tries::new(NAME_TRIES, NAME_FORGIVEN), addresses: Tries::new(ADDRESS_TRIES, ADDRESS_FORGIVEN) }
    }
}

impl Guesses {
    /// Lets a try at a password begin.
    ///
    /// It counts as wrong until [`Guesses::right`] is called, so that tries at the same time count too.
    ///
    /// # Errors
    /// There were too many of this name or address.
    pub fn begin(&self, name: Option<&OperatorName>, address: IpAddr) -> Result<(), ApiError> {
        let (now, address) = (instant(), network(address));
        let by_name = name.and_then(|name| self.names.must_wait(name, now));
        if let Some(wait) = by_name.or_else(|| self.addresses.must_wait(&address, now)) {
            let seconds = wait.as_secs().max(1);
            let detail = "Too many wrong passwords for this name or from this address.";
            return Err(ApiError::new(
                Code::TooMany,
                detail,
                format!("Wait {seconds} s, then try again with the right password."),
            )
            .with_header(RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Some(name) = name {
            self.names.refused(name.clone(), now);
        }
        self.addresses.refused(address, now);
        Ok(())
    }

    /// The password was right.
    pub fn right(&self, name: &OperatorName, address: IpAddr) {
        self.names.forget(name);
        self.addresses.forgive(&network(address));
    }
}
