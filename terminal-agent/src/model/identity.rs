//! Who this terminal is to its branch.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, TerminalName};
use rustls_pki_types::CertificateDer;

use super::wanted::Recipient;

/// An identity that a branch of the fleet certified.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The branch.
    pub branch: BranchName,
    /// This terminal's name.
    pub name: TerminalName,
    /// The fleet's authority.
    pub authority: CertificateDer<'static>,
    /// This terminal's certificate, and its branch's.
    pub chain: Vec<CertificateDer<'static>>,
    /// From when until when this terminal's certificate is valid.
    pub valid: (DateTime<Utc>, DateTime<Utc>),
}

impl Identity {
    /// The recipient of plans that it stands for.
    pub fn recipient(&self) -> Recipient {
        Recipient { branch: self.branch.clone(), name: self.name.clone() }
    }
}
