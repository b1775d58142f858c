//! Who this terminal is to its branch: its key, and the certificates that the branch gave, in two files that only the agent reads.
//!
//! The key comes first and stays: whatever happens between asking and being answered, the same question can be asked again.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, TerminalName};
use serde::{Deserialize, Serialize};
use service_kit::config::read_toml;
use service_kit::durable;
use service_kit::edge::chain;
use trust::certificates::{
    Age, DenyList, Identity as Who, Purpose, Suffix, Times, TlsKey, certificate_from_pem, check_chain, fingerprint,
    request_key, validity,
};
use trust::{Refusal, SigningKey, Why};
use wire::v1::sync::EnrolResponse;

use crate::model::identity::Identity;

/// Where the two files are.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// The key, in PEM.
    key: PathBuf,
    /// The branch's name and the certificates.
    identity: PathBuf,
}

fn storage(path: &Path, error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Why::Storage, format!("The file {} cannot be used: {error}.", path.display()))
}

impl IdentityFiles {
    /// In this folder.
    pub fn new(folder: &Path) -> Self {
        Self { key: folder.join("identity-key.pem"), identity: folder.join("identity.toml") }
    }

    /// This terminal's key, made and saved at the first call. Blocking.
    ///
    /// # Errors
    /// It cannot be read or written, or others can read it.
    pub fn key(&self) -> Result<TlsKey, Refusal> {
        if !self.key.try_exists().map_err(|e| storage(&self.key, e))? {
            // Of the kind that can sign statements too.
            let fresh = SigningKey::generate()?.to_pem()?;
            durable::write_secret_file(&self.key, fresh.expose().as_bytes()).map_err(|e| storage(&self.key, e))?;
        }
        TlsKey::read(&self.key)
    }

    /// The same key, to sign statements with. Blocking.
    ///
    /// # Errors
    /// As [`IdentityFiles::key`].
    pub fn signer(&self) -> Result<SigningKey, Refusal> {
        self.key()?;
        SigningKey::read(&self.key)
    }

    /// SHA-256 of this terminal's public key.
    fn own(&self) -> Result<Digest, Refusal> {
        request_key(&self.key()?.request()?)
    }

    /// The identity of this terminal; none before it enrolled, or if what is kept is unusable.
    ///
    /// Then it is asked for again. Blocking.
    pub fn read(&self, name: &TerminalName) -> Option<Identity> {
        if !self.identity.exists() {
            return None;
        }
        let read = || {
            let kept: Kept = read_toml(&self.identity).map_err(|e| storage(&self.identity, chain(&e)))?;
            // Whether it is this terminal's, whatever the time is now.
            Identity::of(&kept.into(), name, &self.own()?, None)
        };
        let refused = |r: &Refusal| tracing::warn!(code = r.code(), reason = r.sentence(), "no usable identity");
        read().inspect_err(refused).ok()
    }

    /// Keeps what the branch server answered, if it is valid for this terminal. Blocking.
    ///
    /// It must be for this terminal's key, and of the authority with this fingerprint.
    ///
    /// # Errors
    /// It is not, or cannot be written.
    pub fn keep(
        &self,
        answer: EnrolResponse,
        name: &TerminalName,
        authority: &Digest,
        times: impl Into<Times>,
    ) -> Result<Identity, Refusal> {
        let (own, times) = (self.own()?, times.into());
        let identity = times.hold(|now| Identity::of(&answer, name, &own, Some(now)))?;
        if fingerprint(&identity.authority) != *authority {
            let sentence = "The branch server's answer names another authority than its certificate.";
            return Err(Refusal::new(Why::CertificateChain, sentence));
        }
        let text = toml::to_string(&Kept::from(answer)).map_err(|e| storage(&self.identity, e))?;
        durable::write_secret_file(&self.identity, text.as_bytes()).map_err(|e| storage(&self.identity, e))?;
        Ok(identity)
    }
}

/// The file. What a newer agent may have written into it beside these is passed over.
///
/// Its identity is this one's too.
#[derive(Serialize, Deserialize)]
struct Kept {
    branch: BranchName,
    certificate: String,
    intermediate: String,
    authority: String,
}

impl From<EnrolResponse> for Kept {
    fn from(EnrolResponse { branch, certificate, intermediate, authority }: EnrolResponse) -> Self {
        Self { branch, certificate, intermediate, authority }
    }
}

impl From<Kept> for EnrolResponse {
    fn from(Kept { branch, certificate, intermediate, authority }: Kept) -> Self {
        Self { branch, certificate, intermediate, authority }
    }
}

impl Identity {
    /// What an answer says to the terminal with this name and key.
    ///
    /// It is judged at that time, or at a time when it was valid.
    fn of(
        answer: &EnrolResponse,
        name: &TerminalName,
        key: &Digest,
        now: Option<DateTime<Utc>>,
    ) -> Result<Self, Refusal> {
        let authority = certificate_from_pem(&answer.authority)?;
        let chain = vec![certificate_from_pem(&answer.certificate)?, certificate_from_pem(&answer.intermediate)?];
        let valid = validity(&chain[0])?;
        let at = now.unwrap_or(valid.0.max(validity(&chain[1])?.0));
        let (suffix, nobody) = (Suffix::default(), DenyList::default());
        let checked = check_chain(&chain, &authority, &suffix, Purpose::Client, at, &nobody)?;
        let expected = Who::Terminal(answer.branch.clone(), name.clone());
        if checked.identity != expected {
            let sentence = format!("The certificate belongs to {}, not to {expected}.", checked.identity);
            return Err(Refusal::new(Why::CertificateName, sentence));
        }
        if checked.key != *key {
            return Err(Refusal::new(Why::CertificateForm, "The certificate is for another key than this terminal's."));
        }
        Ok(Self { branch: answer.branch.clone(), name: name.clone(), authority, chain, valid })
    }

    /// How much the certificate has left.
    pub fn age(&self, times: impl Into<Times>) -> Age {
        Age::of(self.valid, times.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use trust::certificates::{Authority, LEAF_LIFETIME, certificate_to_pem, request_to_pem};

    fn now() -> DateTime<Utc> {
        "2031-05-06T07:08:09Z".parse().unwrap()
    }

    fn till() -> TerminalName {
        "till-1".parse().unwrap()
    }

    /// The fleet's authority, and a branch's.
    struct Fleet(Authority, Authority);

    impl Fleet {
        fn new() -> Self {
            let fleet = Authority::begin(Suffix::default(), TlsKey::generate().unwrap(), now()).unwrap();
            let (key, north) = (TlsKey::generate().unwrap(), "north".parse::<BranchName>().unwrap());
            let chain = fleet.issue_branch(&key.request().unwrap(), &north, now()).unwrap();
            let branch = Authority::open(Suffix::default(), Some(north), chain, key).unwrap();
            Self(fleet, branch)
        }

        fn pinned(&self) -> Digest {
            fingerprint(&self.0.chain()[0])
        }

        fn answer(&self, key: &TlsKey, name: &str) -> EnrolResponse {
            let request = request_to_pem(&key.request().unwrap());
            let request = trust::certificates::request_from_pem(&request).unwrap();
            let chain = self.1.issue_terminal(&request, &name.parse().unwrap(), now()).unwrap();
            EnrolResponse {
                branch: "north".parse().unwrap(),
                certificate: certificate_to_pem(&chain[0]),
                intermediate: certificate_to_pem(&chain[1]),
                authority: certificate_to_pem(&self.0.chain()[0]),
            }
        }
    }

    #[test]
    fn an_identity_is_read_back_and_both_files_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (files, fleet) = (IdentityFiles::new(dir.path()), Fleet::new());
        assert!(files.read(&till()).is_none());
        let key = files.key().unwrap();
        assert_eq!(key.to_pem(), files.key().unwrap().to_pem(), "made once");
        files.keep(fleet.answer(&key, "till-1"), &till(), &fleet.pinned(), now()).unwrap();
        for name in ["identity.toml", "identity-key.pem"] {
            assert_eq!(std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let identity = files.read(&till()).unwrap();
        assert_eq!((identity.branch.as_str(), identity.chain.len()), ("north", 2));
        let at = |days: i64| identity.age(now() + TimeDelta::days(days));
        assert_eq!([at(0), at(50), at(61), at(90)], [Age::Young, Age::Young, Age::Old, Age::Over]);
        assert_eq!(identity.valid.1, now() + LEAF_LIFETIME);
    }

    #[test]
    fn an_answer_of_another_authority_or_for_another_key_name_or_branch_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (files, fleet, foreign) = (IdentityFiles::new(dir.path()), Fleet::new(), Fleet::new());
        let (key, other) = (files.key().unwrap(), TlsKey::generate().unwrap());
        let good = fleet.answer(&key, "till-1");
        let misnamed = EnrolResponse { branch: "south".parse().unwrap(), ..good.clone() };
        let mixed = EnrolResponse { authority: good.authority.clone(), ..foreign.answer(&key, "till-1") };
        for bad in [
            foreign.answer(&key, "till-1"),
            fleet.answer(&other, "till-1"),
            fleet.answer(&key, "till-2"),
            misnamed,
            mixed,
        ] {
            assert!(files.keep(bad.clone(), &till(), &fleet.pinned(), now()).is_err(), "{bad:?}");
            assert!(files.read(&till()).is_none());
        }
        files.keep(good, &till(), &fleet.pinned(), now()).unwrap();
        assert!(files.read(&"till-2".parse().unwrap()).is_none(), "a terminal that got another name enrols again");
    }
}
