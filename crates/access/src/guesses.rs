//! Wrong passwords, counted by name and by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// Most addresses that an operator is known at.
///
/// The one that was used longest ago is forgotten.
const PLACES: usize = 8;

/// Counts wrong passwords by name and by address.
#[derive(Debug)]
pub struct Guesses {
    names: Tries<OperatorName>,
    addresses: Tries<IpAddr>,
    /// By name at an address where the right password came from.
    ///
    /// Strangers elsewhere do not lock it out.
    known: Tries<(OperatorName, IpAddr)>,
    /// Where operators logged in, the newest last; as many names as there are operators.
    places: Mutex<HashMap<OperatorName, Vec<IpAddr>>>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            names: Tries::new(NAME_TRIES, NAME_FORGIVEN),
            addresses: Tries::new(ADDRESS_TRIES, ADDRESS_FORGIVEN),
            known: Tries::new(NAME_TRIES, NAME_FORGIVEN),
            places: Mutex::default(),
        }
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
        let known = name.filter(|name| self.is_known(name, address)).map(|name| (name.clone(), address));
        let by_name = match &known {
            Some(known) => self.known.must_wait(known, now),
            None => name.and_then(|name| self.names.must_wait(name, now)),
        };
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
        match (known, name) {
            (Some(known), _) => self.known.refused(known, now),
            (None, Some(name)) => self.names.refused(name.clone(), now),
            (None, None) => {}
        }
        self.addresses.refused(address, now);
        Ok(())
    }

    /// The password was right.
    pub fn right(&self, name: &OperatorName, address: IpAddr) {
        let address = network(address);
        self.names.forget(name);
        self.known.forget(&(name.clone(), address));
        self.addresses.forgive(&address);
        let mut places = self.places();
        let places = places.entry(name.clone()).or_default();
        places.retain(|place| *place != address);
        places.push(address);
        let surplus = places.len().saturating_sub(PLACES);
        places.drain(..surplus);
    }

    fn is_known(&self, name: &OperatorName, address: IpAddr) -> bool {
        self.places().get(name).is_some_and(|places| places.contains(&address))
    }

    fn places(&self) -> MutexGuard<'_, HashMap<OperatorName, Vec<IpAddr>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_do_not_lock_an_operator_out_where_it_logged_in_before() {
        let (guesses, anna): (_, OperatorName) = (Guesses::default(), "anna".parse().unwrap());
        let (desk, stranger) = (address("10.0.0.1"), address("192.0.2.9"));
        let guess = |from| guesses.begin(Some(&anna), from).is_ok();
        assert!(guess(desk));
        guesses.right(&anna, desk);
        let guessed = (0..40).filter(|_| guess(stranger)).count();
        assert_eq!(guessed, NAME_TRIES as usize);
        assert!(!guess(address("192.0.2.10")), "all strangers together have one allowance");
        assert!(guess(desk), "the known place has its own");
        // It is bounded too.
        assert!((0..40).filter(|_| guess(desk)).count() < NAME_TRIES as usize);
        assert!(!guess(desk));
    }

    #[test]
    fn known_places_are_bounded_and_those_in_use_stay() {
        let (guesses, anna): (_, OperatorName) = (Guesses::default(), "anna".parse().unwrap());
        let place = |n: usize| address(&format!("10.0.0.{n}"));
        for n in 0..PLACES * 3 {
            guesses.right(&anna, place(n));
            guesses.right(&anna, place(0));
        }
        let known = (0..PLACES * 3).filter(|n| guesses.is_known(&anna, place(*n))).collect::<Vec<_>>();
        assert_eq!(known.len(), PLACES);
        assert!(known.contains(&0));
    }
}
