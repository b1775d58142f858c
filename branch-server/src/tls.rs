//! TLS of this server's listeners: with a certificate that its own authority issued, which lives in memory only and is made
//! anew at two thirds of its life by whichever connection comes then, or when this server was certified anew.
//!
//! Before this server enrolled, the operators' listener shows a certificate that proves nothing to anybody: a person who sets
//! the server up can look at its state, encrypted; programs, which ask for proof, refuse.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use rustls::ServerConfig;
use trust::Refusal;
use trust::certificates::{Authority, FleetTime, Suffix, TlsKey, people_config};

use crate::identity::{Identity, RENEWED_AFTER};
use crate::upstream::HeadOffice;

/// The listeners' TLS. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    head_office: Arc<dyn HeadOffice>,
    time: FleetTime,
    now: Mutex<Now>,
}

/// What listeners use now.
struct Now {
    people: Arc<ServerConfig>,
    /// Whose certificate it is; nobody's before this server enrolled.
    identity: Option<Arc<Identity>>,
    made: DateTime<Utc>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Makes the listeners' certificate.
    ///
    /// # Errors
    /// This server's identity makes nothing that anybody believes, as when it expired.
    pub fn new(head_office: Arc<dyn HeadOffice>, time: FleetTime) -> Result<Self, Refusal> {
        let now = match make(head_office.identity(), &time) {
            Ok(now) => now,
            // A server whose identity expired has to come up all the same: its first work is to renew it.
            Err(refusal) => {
                tell(&refusal);
                make(None, &time)?
            }
        };
        Ok(Self(Arc::new(Inner { head_office, time, now: Mutex::new(now) })))
    }

    /// The TLS of the operators' listener now.
    pub fn people(&self) -> Arc<ServerConfig> {
        let inner = &*self.0;
        let identity = inner.head_office.identity();
        let mut now = inner.now.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match (&now.identity, &identity) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (before, after) => before.is_none() && after.is_none(),
        };
        let age = inner.time.now() - now.made;
        // Also if the clock was set back: a certificate of the future is believed by nobody.
        if !same || age >= RENEWED_AFTER || age < TimeDelta::zero() {
            match make(identity, &inner.time) {
                Ok(renewed) => *now = renewed,
                Err(refusal) => tell(&refusal),
            }
        }
        now.people.clone()
    }
}

fn tell(refusal: &Refusal) {
    tracing::error!(
        code = refusal.code(),
        reason = refusal.sentence(),
        "no certificate can be made for the listeners; what is at hand stays in use"
    );
}

fn make(identity: Option<Arc<Identity>>, time: &FleetTime) -> Result<Now, Refusal> {
    let made = time.now();
    let people = if let Some(identity) = &identity {
        let (chain, key) = identity.issue(made)?;
        people_config((chain, &key), identity.authority.clone(), None, time.clone())?
    } else {
        let nobodys = Authority::begin(Suffix::default(), TlsKey::generate()?, made)?;
        let key = TlsKey::generate()?;
        let chain = nobodys.issue_own(&key.request()?, made)?;
        // An authority is made of its certificate.
        people_config((chain, &key), nobodys.chain()[0].clone(), None, time.clone())?
    };
    Ok(Now { people: Arc::new(people), identity, made })
}
