//! Who head office is to others: the fleet's authority, which issues its own certificate and the branches' intermediates, and
//! the TLS of both listeners.
//!
//! Its own leaf lives in memory only: made at the start, and replaced at two thirds of its life by the next
//! connection, so that nothing has to be restarted or stored.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, Digest};
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use service_kit::Clock;
use service_kit::server::PeerCertificates;
use trust::Refusal;
use trust::certificates::{
    AUTHORITY_FILE, Authority, Checked, Clients, DenyList, FleetTime, LEAF_LIFETIME, Purpose, Suffix, TlsKey,
    check_chain, fingerprint, none_denied, people_config, read_public, server_config,
};

use crate::config::{PublicCertificate, TlsSettings};

/// After how much of its life the leaf is replaced.
const RENEWED_AFTER: TimeDelta = TimeDelta::days(LEAF_LIFETIME.num_days() * 2 / 3);
/// How often the files of the public certificate are read again.
///
/// So their renewal needs no restart.
const LOOKED_AT_AGAIN: TimeDelta = TimeDelta::hours(1);

/// The authority and the listeners' TLS. Clones share them.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    authority: Authority,
    public: Option<PublicCertificate>,
    time: FleetTime,
    now: Mutex<Now>,
}

/// What listeners use now.
struct Now {
    people: Arc<ServerConfig>,
    machines: Arc<ServerConfig>,
    made: DateTime<Utc>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({})", self.fingerprint().short())
    }
}

/// The fleet's authority, created at the first call. Blocking.
///
/// # Errors
/// Its folder cannot be used, or its files are damaged.
pub fn authority(settings: &TlsSettings, now: DateTime<Utc>) -> Result<Authority, Refusal> {
    let (authority, made) = Authority::open_or_create(&settings.folder, Suffix::default(), now)?;
    if made {
        tracing::info!(
            fingerprint = %fingerprint(certificate(&authority)),
            file = %settings.folder.join(AUTHORITY_FILE).display(),
            "created the fleet's authority; keep a copy of its folder in a safe place"
        );
    }
    Ok(authority)
}

fn certificate(authority: &Authority) -> &CertificateDer<'static> {
    // An authority is made of its certificate.
    &authority.chain()[0]
}

impl Tls {
    /// Takes up the authority and makes the listeners' certificate. Blocking.
    ///
    /// # Errors
    /// As [`authority`], or the public certificate cannot be used.
    pub fn open(settings: &TlsSettings, clock: Arc<dyn Clock>) -> Result<Self, Refusal> {
        let time = FleetTime::new(clock, DateTime::UNIX_EPOCH);
        let authority = authority(settings, time.now())?;
        let public = settings.public.clone();
        let now = make(&authority, read(public.as_ref())?, &time)?;
        tracing::info!(authority = %fingerprint(certificate(&authority)), "certificates of both listeners are made");
        Ok(Self(Arc::new(Inner { authority, public, time, now: Mutex::new(now) })))
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        certificate(&self.0.authority)
    }

    /// Its SHA-256, which join tokens carry.
    pub fn fingerprint(&self) -> Digest {
        fingerprint(self.certificate())
    }

    /// The TLS of the operators' listener now.
    pub fn people(&self) -> Arc<ServerConfig> {
        self.now(|now| now.people.clone())
    }

    /// The TLS of the machines' listener now.
    pub fn machines(&self) -> Arc<ServerConfig> {
        self.now(|now| now.machines.clone())
    }

    /// Who presents this chain, at this moment: a connection may outlive a certificate.
    ///
    /// # Errors
    /// It does not hold.
    pub fn check(&self, presented: &PeerCertificates) -> Result<Checked, Refusal> {
        let (suffix, now) = (Suffix::default(), self.0.time.now());
        check_chain(&presented.0, self.certificate(), &suffix, Purpose::Client, now, &DenyList::default())
    }

    /// A branch's intermediate for the key of a request.
    ///
    /// # Errors
    /// The request cannot be used.
    pub fn issue(&self, request: &[u8], branch: &BranchName) -> Result<CertificateDer<'static>, Refusal> {
        let chain = self.0.authority.issue_branch(request, branch, self.0.time.now())?;
        // A chain begins with what was issued.
        Ok(chain[0].clone())
    }

    fn now<T>(&self, take: impl FnOnce(&Now) -> T) -> T {
        let inner = &*self.0;
        let mut now = inner.now.lock().unwrap_or_else(PoisonError::into_inner);
        let age = inner.time.now() - now.made;
        let lasts = if inner.public.is_some() { LOOKED_AT_AGAIN } else { RENEWED_AFTER };
        // Also if the clock was set back: a certificate of the future is not accepted.
        if age >= lasts || age < TimeDelta::zero() {
            match read(inner.public.as_ref()).and_then(|public| make(&inner.authority, public, &inner.time)) {
                Ok(renewed) => *now = renewed,
                Err(refusal) => tracing::error!(
                    code = refusal.code(),
                    reason = refusal.sentence(),
                    "the listeners' certificates are not renewed; those at hand stay in use"
                ),
            }
        }
        take(&now)
    }
}

fn read(public: Option<&PublicCertificate>) -> Result<Option<Arc<CertifiedKey>>, Refusal> {
    public.map(|p| read_public(&p.certificate, &p.key)).transpose()
}

/// A fresh leaf, and the TLS of both listeners with it.
fn make(authority: &Authority, public: Option<Arc<CertifiedKey>>, time: &FleetTime) -> Result<Now, Refusal> {
    let (made, key) = (time.now(), TlsKey::generate()?);
    let chain = authority.issue_own(&key.request()?, made)?;
    let root = certificate(authority).clone();
    let people = people_config((chain.clone(), &key), root.clone(), public, time.clone())?;
    // Whose identity is denied is asked of the database at each request, which says so in a sentence.
    let denied = none_denied();
    let machines = server_config((chain, &key), root, Suffix::default(), Clients::Optional, denied, time.clone())?;
    Ok(Now { people: Arc::new(people), machines: Arc::new(machines), made })
}
