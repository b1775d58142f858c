//! TLS of this server's listeners: with a certificate that its own authority issued, which lives in memory only and is replaced
//! at two thirds of its life by the next connection, or when this server's identity was renewed.
//!
//! Before this server enrolled, both listeners present a throwaway certificate: an operator who sets the server
//! up can look at its state, encrypted; programs and terminals, which ask for proof, refuse, and try again later.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::TerminalName;
use rustls::ServerConfig;
use service_kit::server::PeerCertificates;
use trust::certificates::{
    Authority, Checked, Clients, FleetTime, Suffix, Times, TlsKey, none_denied, people_config, server_config,
};
use trust::{Refusal, Why};

use crate::upstream::head_office::HeadOffice;
use crate::upstream::identity::{Identity, RENEWED_AFTER};

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
    machines: Arc<ServerConfig>,
    /// The identity that it was made for; none before this server enrolled.
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
    /// No certificate can be issued by this server's identity, as when it expired.
    pub fn new(head_office: Arc<dyn HeadOffice>, time: FleetTime) -> Result<Self, Refusal> {
        let now = match make(head_office.identity(), &time) {
            Ok(now) => now,
            // A server whose identity expired has to come up all the same: its first work is to renew it.
            Err(refusal) => {
                tell(&refusal);
                Now { identity: head_office.identity(), ..make(None, &time)? }
            }
        };
        Ok(Self(Arc::new(Inner { head_office, time, now: Mutex::new(now) })))
    }

    /// The TLS of the operators' listener now.
    pub fn people(&self) -> Arc<ServerConfig> {
        self.at_hand(|now| now.people.clone())
    }

    /// The TLS of the machines' listener now.
    pub fn machines(&self) -> Arc<ServerConfig> {
        self.at_hand(|now| now.machines.clone())
    }

    /// The time by which certificates are judged.
    pub fn time(&self) -> DateTime<Utc> {
        self.0.time.now()
    }

    /// The same, with what the clock alone says of it.
    pub fn times(&self) -> Times {
        self.0.time.times()
    }

    /// Who presents this chain, at this moment: a connection may outlive a certificate.
    ///
    /// # Errors
    /// It is not valid, or this server has not enrolled.
    pub fn check(&self, presented: &PeerCertificates) -> Result<Checked, Refusal> {
        self.identity()?.check(&presented.0, self.time())
    }

    /// Returns the terminal whose connection this is; none for a stranger.
    ///
    /// Only certificates of this server's key count: another branch server issues them for as many names as it likes.
    pub fn holder(&self, presented: &PeerCertificates) -> Option<TerminalName> {
        let identity = self.identity().ok()?;
        let checked = identity.check(&presented.0, self.time()).ok().filter(|c| identity.is_issuer_of(c))?;
        match checked.identity {
            trust::certificates::Identity::Terminal(_, terminal) => Some(terminal),
            _ => None,
        }
    }

    fn identity(&self) -> Result<Arc<Identity>, Refusal> {
        self.0.head_office.identity().ok_or_else(|| {
            let sentence = "This branch server has not enrolled yet, so it cannot verify certificates.";
            Refusal::new(Why::CertificateChain, sentence)
        })
    }

    fn at_hand<T>(&self, take: impl FnOnce(&Now) -> T) -> T {
        let inner = &*self.0;
        let identity = inner.head_office.identity();
        let mut now = inner.now.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match (&now.identity, &identity) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (before, after) => before.is_none() && after.is_none(),
        };
        let age = inner.time.now() - now.made;
        // Also if the clock was set back: a certificate of the future is not valid.
        if !same || age >= RENEWED_AFTER || age < TimeDelta::zero() {
            match make(identity.clone(), &inner.time) {
                Ok(renewed) => *now = renewed,
                Err(refusal) => {
                    tell(&refusal);
                    // Not again for each connection: strangers can open any number of them.
                    (now.identity, now.made) = (identity, inner.time.now());
                }
            }
        }
        take(&now)
    }
}

fn tell(refusal: &Refusal) {
    tracing::error!(
        code = refusal.code(),
        reason = refusal.sentence(),
        "no certificate can be issued for the listeners; the previous one stays in use"
    );
}

fn make(identity: Option<Arc<Identity>>, time: &FleetTime) -> Result<Now, Refusal> {
    let times = time.times();
    let made = times.latest;
    let (chain, key, root) = if let Some(identity) = &identity {
        let (chain, key) = identity.issue(times)?;
        (chain, key, identity.authority.clone())
    } else {
        let nobodys = Authority::begin(Suffix::default(), TlsKey::generate()?, made)?;
        let key = TlsKey::generate()?;
        // An authority is made of its certificate.
        (nobodys.issue_own(&key.request()?, times)?, key, nobodys.chain()[0].clone())
    };
    let people = Arc::new(people_config((chain.clone(), &key), root.clone(), None, time.clone())?);
    let (suffix, denied) = (Suffix::default(), none_denied());
    let machines = server_config((chain, &key), root, suffix, Clients::Optional, denied, time.clone())?;
    Ok(Now { people, machines: Arc::new(machines), identity, made })
}
