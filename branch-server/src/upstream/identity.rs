//! This server's identity: its key and the certificate of its branch, in two files that only this program reads.
//!
//! The key comes first and stays: whatever happens between asking and being answered, the same question can be asked again.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, Digest, TerminalName};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use service_kit::config::read_toml;
use service_kit::durable;
use trust::certificates::{
    Authority, Chain, Checked, DenyList, Purpose, Suffix, Times, TlsKey, certificate_from_pem, check_chain,
    check_former, fingerprint, request_key, validity,
};
use trust::{Refusal, Why};
use wire::v1::sync::{BranchEnrolResponse, FormerCertificate};

pub use trust::certificates::Age;

/// Where the two files are.
#[derive(Debug, Clone)]
pub struct Files {
    /// The key, in PEM.
    key: PathBuf,
    /// The branch's name and certificates.
    identity: PathBuf,
}

/// An identity that head office's authority certified.
#[derive(Debug)]
pub struct Identity {
    /// Whose branch server this is.
    pub branch: BranchName,
    /// The fleet's authority.
    pub authority: CertificateDer<'static>,
    /// What issues this server's own certificates.
    intermediate: Authority,
    /// SHA-256 of this server's key.
    key: Digest,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
}

fn storage(path: &Path, error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Why::Storage, format!("The file {} cannot be used: {error}.", path.display()))
}

impl Files {
    /// In this folder.
    pub fn new(folder: &Path) -> Self {
        Self { key: folder.join("identity-key.pem"), identity: folder.join("identity.toml") }
    }

    /// Returns this server's key; generates it first if it does not exist. Blocking.
    ///
    /// # Errors
    /// It cannot be read or written, or others can read it.
    pub fn key(&self) -> Result<TlsKey, Refusal> {
        if !self.key.try_exists().map_err(|e| storage(&self.key, e))? {
            let fresh = TlsKey::generate()?.to_pem();
            durable::write_secret_file(&self.key, fresh.expose().as_bytes()).map_err(|e| storage(&self.key, e))?;
        }
        TlsKey::read(&self.key)
    }

    /// Checks that this server could use its key, if it has one already. Blocking.
    ///
    /// # Errors
    /// It cannot be read, or others can read it.
    pub fn check_key(&self) -> Result<(), Refusal> {
        let there = self.key.try_exists().map_err(|e| storage(&self.key, e))?;
        if there { TlsKey::read(&self.key).map(drop) } else { Ok(()) }
    }

    /// The identity; none before this server enrolled. Blocking.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read(&self) -> Result<Option<Identity>, Refusal> {
        if !self.identity.try_exists().map_err(|e| storage(&self.identity, e))? {
            return Ok(None);
        }
        let kept: Kept =
            read_toml(&self.identity).map_err(|e| storage(&self.identity, service_kit::edge::chain(&e)))?;
        self.open(kept.into()).map(Some)
    }

    /// Keeps what head office answered, if it is of the authority with this fingerprint and for this server's key. Blocking.
    ///
    /// # Errors
    /// It is not, or cannot be written.
    pub fn keep(
        &self,
        answer: BranchEnrolResponse,
        authority: &Digest,
        times: impl Into<Times>,
    ) -> Result<Identity, Refusal> {
        let identity = self.open(answer.clone())?;
        if fingerprint(&identity.authority) != *authority {
            let sentence = "Head office answered with another authority than its TLS certificate has.";
            return Err(Refusal::new(Why::CertificateChain, sentence));
        }
        // Whether the fleet's machines would believe it, before anything depends on that.
        identity.issue(times)?;
        let text = toml::to_string(&Kept::from(answer)).map_err(|e| storage(&self.identity, e))?;
        durable::write_secret_file(&self.identity, text.as_bytes()).map_err(|e| storage(&self.identity, e))?;
        Ok(identity)
    }

    fn open(&self, kept: BranchEnrolResponse) -> Result<Identity, Refusal> {
        let authority = certificate_from_pem(&kept.authority)?;
        let certificate = certificate_from_pem(&kept.certificate)?;
        let (from, until) = validity(&certificate)?;
        let (chain, own) = (vec![certificate], self.key()?);
        let key = request_key(&own.request()?)?;
        let intermediate = Authority::open(Suffix::default(), Some(kept.branch.clone()), chain, own)?;
        Ok(Identity { branch: kept.branch, authority, intermediate, key, from, until })
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    branch: BranchName,
    certificate: String,
    authority: String,
}

impl From<BranchEnrolResponse> for Kept {
    fn from(BranchEnrolResponse { branch, certificate, authority }: BranchEnrolResponse) -> Self {
        Self { branch, certificate, authority }
    }
}

impl From<Kept> for BranchEnrolResponse {
    fn from(Kept { branch, certificate, authority }: Kept) -> Self {
        Self { branch, certificate, authority }
    }
}

impl Identity {
    /// How much the intermediate has left.
    pub fn age(&self, times: impl Into<Times>) -> Age {
        Age::of((self.from, self.until), times.into())
    }

    /// A certificate for this server itself, with a key that is in memory only.
    ///
    /// # Errors
    /// The intermediate does not hold (any more), or is another key's.
    pub fn issue(&self, times: impl Into<Times>) -> Result<(Chain, TlsKey), Refusal> {
        let (key, times) = (TlsKey::generate()?, times.into());
        let chain = self.intermediate.issue_own(&key.request()?, times)?;
        let checked = times.hold(|now| self.check(&chain, now))?;
        if checked.identity.branch() == Some(&self.branch) {
            return Ok((chain, key));
        }
        let sentence = format!("The certificate belongs to {}, not to branch {}.", checked.identity, self.branch);
        Err(Refusal::new(Why::CertificateName, sentence))
    }

    /// The certificate of this branch: what is between its machines' and the fleet's authority.
    pub fn intermediate(&self) -> &CertificateDer<'static> {
        // An authority is made of its certificate.
        &self.intermediate.chain()[0]
    }

    /// A terminal's certificate, from its request.
    ///
    /// # Errors
    /// The request is not valid, or its certificate would not be.
    pub fn issue_terminal(
        &self,
        request: &[u8],
        terminal: &TerminalName,
        times: Times,
    ) -> Result<CertificateDer<'static>, Refusal> {
        let chain = self.intermediate.issue_terminal(request, terminal, times)?;
        times.hold(|now| self.check(&chain, now))?;
        // A chain begins with what was issued.
        Ok(chain[0].clone())
    }

    /// Whether a certificate that was issued before is young enough, and still of this server's authority, to be the answer
    /// again.
    pub fn issued(&self, certificate: &CertificateDer<'static>, times: Times) -> bool {
        let young = validity(certificate).is_ok_and(|(from, until)| times.latest < from + (until - from) / 2);
        let chain = [certificate.clone(), self.intermediate().clone()];
        young && [times.clock, times.latest].iter().all(|now| self.check(&chain, *now).is_ok())
    }

    /// Whom a terminal's former certificate of this branch names, also an expired one of another server of the branch.
    ///
    /// # Errors
    /// It is not of this fleet, or one of `issuers` issued it.
    pub fn check_former(
        &self,
        presented: &FormerCertificate,
        now: DateTime<Utc>,
        issuers: &[Digest],
    ) -> Result<Checked, Refusal> {
        let FormerCertificate { certificate, intermediate } = presented;
        let chain = [certificate_from_pem(certificate)?, certificate_from_pem(intermediate)?];
        let denied = DenyList { keys: issuers.iter().copied().collect(), ..DenyList::default() };
        check_former(&chain, &self.authority, &Suffix::default(), now, &denied)
    }

    /// Returns whether this server's key issued a certificate.
    pub fn is_issuer_of(&self, checked: &Checked) -> bool {
        checked.issuer == Some(self.key)
    }

    /// Whom a client presents.
    ///
    /// # Errors
    /// It is not of this fleet, or it expired.
    pub fn check(&self, presented: &[CertificateDer<'_>], now: DateTime<Utc>) -> Result<Checked, Refusal> {
        // Whose identity is denied is asked of the database, which says so in a sentence.
        let (suffix, nobody) = (Suffix::default(), DenyList::default());
        check_chain(presented, &self.authority, &suffix, Purpose::Client, now, &nobody)
    }
}

/// The age at which a certificate that this server issued to itself is replaced.
pub const RENEWED_AFTER: TimeDelta = TimeDelta::days(trust::certificates::LEAF_LIFETIME.num_days() * 2 / 3);

#[cfg(test)]
mod tests {
    use super::*;
    use trust::certificates::{BRANCH_LIFETIME, certificate_to_pem};

    fn now() -> DateTime<Utc> {
        "2031-05-06T07:08:09Z".parse().unwrap()
    }

    /// What head office answers to the key of `files`.
    fn answer(files: &Files, authority: &Authority, branch: &str) -> BranchEnrolResponse {
        let branch: BranchName = branch.parse().unwrap();
        let request = files.key().unwrap().request().unwrap();
        let chain = authority.issue_branch(&request, &branch, now()).unwrap();
        let (certificate, authority) = (certificate_to_pem(&chain[0]), certificate_to_pem(&authority.chain()[0]));
        BranchEnrolResponse { branch, certificate, authority }
    }

    fn fleet() -> (Authority, Digest) {
        let authority = Authority::begin(Suffix::default(), TlsKey::generate().unwrap(), now()).unwrap();
        let pinned = fingerprint(&authority.chain()[0]);
        (authority, pinned)
    }

    #[test]
    fn an_identity_is_read_back_and_both_files_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (files, (authority, pinned)) = (Files::new(dir.path()), fleet());
        assert!(files.read().unwrap().is_none());
        files.keep(answer(&files, &authority, "north"), &pinned, now()).unwrap();
        for name in ["identity.toml", "identity-key.pem"] {
            assert_eq!(std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let identity = files.read().unwrap().unwrap();
        assert_eq!(identity.branch.as_str(), "north");
        assert_eq!(identity.issue(now()).unwrap().0.len(), 2);
        let at = |part: i32| now() + BRANCH_LIFETIME * part / 12;
        assert_eq!(
            [at(0), at(7), at(9), at(12)].map(|t| identity.age(t)),
            [Age::Young, Age::Young, Age::Old, Age::Over]
        );
        assert!(
            identity.issue(at(12) + TimeDelta::seconds(2)).is_err(),
            "an expired intermediate makes nothing that anybody believes"
        );
    }

    #[test]
    fn an_answer_of_another_authority_or_for_another_key_or_branch_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (files, (authority, pinned), (foreign, _)) = (Files::new(dir.path()), fleet(), fleet());
        let other = Files::new(&dir.path().join("other"));
        std::fs::create_dir(dir.path().join("other")).unwrap();
        let of_another_key = answer(&other, &authority, "north");
        let misnamed = BranchEnrolResponse { branch: "south".parse().unwrap(), ..answer(&files, &authority, "north") };
        let mixed = BranchEnrolResponse {
            authority: certificate_to_pem(&authority.chain()[0]),
            ..answer(&files, &foreign, "north")
        };
        for bad in [answer(&files, &foreign, "north"), of_another_key, misnamed, mixed] {
            assert!(files.keep(bad.clone(), &pinned, now()).is_err(), "{bad:?}");
            assert!(files.read().unwrap().is_none());
        }
    }
}
