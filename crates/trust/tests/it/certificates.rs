//! Certificates: who is let in, and who is not, by the library's own check.

use crate::fleet::start;
use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use trust::certificates::{
    Authority, Chain, DenyList, Identity, Purpose, Suffix, TlsKey, certificate_signer, check_chain, fingerprint,
    request_key, request_signer,
};
use trust::{SigningKey, Why};

pub fn suffix() -> Suffix {
    "fleet.example".parse().unwrap()
}

pub fn north() -> Identity {
    Identity::Branch("north".parse().unwrap())
}

/// An authority, branches north and south, a terminal of north.
pub struct Fleet {
    pub authority: Authority,
    pub north: Authority,
    pub south: Authority,
    north_key: TlsKey,
    pub terminal_key: TlsKey,
    pub terminal: Chain,
}

fn copy(key: &TlsKey) -> TlsKey {
    TlsKey::from_pem(&key.to_pem()).unwrap()
}

impl Fleet {
    pub fn new() -> Self {
        let authority = Authority::begin(suffix(), TlsKey::generate().unwrap(), start()).unwrap();
        let branch = |name: &str| {
            let (key, name) = (TlsKey::generate().unwrap(), name.parse().unwrap());
            let chain = authority.issue_branch(&key.request().unwrap(), &name, start()).unwrap();
            (Authority::open(suffix(), Some(name), chain, copy(&key)).unwrap(), key)
        };
        let ((north, north_key), (south, _)) = (branch("north"), branch("south"));
        // The terminal's certificate is for the key that signs its reports.
        let terminal_key = TlsKey::from_signing_key(&SigningKey::generate().unwrap()).unwrap();
        let terminal =
            north.issue_terminal(&terminal_key.request().unwrap(), &"till-1".parse().unwrap(), start()).unwrap();
        Self { authority, north, south, north_key, terminal_key, terminal }
    }

    pub fn root(&self) -> CertificateDer<'static> {
        self.authority.chain()[0].clone()
    }

    fn check(&self, chain: &[CertificateDer<'_>], purpose: Purpose, now: DateTime<Utc>) -> Result<Identity, Why> {
        self.check_denied(chain, purpose, now, &DenyList::default())
    }

    fn check_denied(
        &self,
        chain: &[CertificateDer<'_>],
        purpose: Purpose,
        now: DateTime<Utc>,
        denied: &DenyList,
    ) -> Result<Identity, Why> {
        check_chain(chain, &self.root(), &suffix(), purpose, now, denied).map(|c| c.identity).map_err(|r| r.why())
    }

    /// A certificate that north's authority would never issue, made with north's stolen key.
    fn forged(&self, edit: impl FnOnce(&mut CertificateParams)) -> Chain {
        let pem = pem::parse(self.north_key.to_pem().expose()).unwrap();
        let pkcs8 = PrivatePkcs8KeyDer::from(pem.into_contents());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let issuer = Issuer::from_ca_cert_der(&self.north.chain()[0], key).unwrap();
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![name("till-1.north.fleet.example")];
        edit(&mut params);
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        vec![leaf.der().clone(), self.north.chain()[0].clone()]
    }
}

fn name(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

#[test]
fn each_machine_is_who_its_certificate_says() {
    let fleet = Fleet::new();
    let (client, server) = (Purpose::Client, Purpose::Server);
    let request = TlsKey::generate().unwrap().request().unwrap();
    let office = fleet.authority.issue_own(&request, start()).unwrap();
    let branch = fleet.north.issue_own(&request, start()).unwrap();
    let till = Identity::Terminal("north".parse().unwrap(), "till-1".parse().unwrap());
    assert_eq!(fleet.check(&fleet.terminal, client, start()), Ok(till));
    assert_eq!(fleet.check(&fleet.terminal, server, start()), Err(Why::CertificatePurpose));
    assert_eq!(fleet.check(&branch, client, start()), Ok(north()));
    assert_eq!(fleet.check(&branch, server, start()), Ok(north()));
    assert_eq!(fleet.check(&office, server, start()), Ok(Identity::HeadOffice));
    assert_eq!(fleet.check(&office, client, start()), Err(Why::CertificatePurpose));
    assert_eq!(fingerprint(&fleet.root()), fingerprint(&fleet.authority.chain()[0]));
}

#[test]
fn a_certificate_counts_in_its_time_only() {
    let fleet = Fleet::new();
    let check = |now| fleet.check(&fleet.terminal, Purpose::Client, now);
    assert!(check(start() + TimeDelta::days(90)).is_ok());
    assert_eq!(check(start() + TimeDelta::days(90) + TimeDelta::seconds(1)), Err(Why::CertificateExpired));
    assert_eq!(check(start() - TimeDelta::days(2)), Err(Why::CertificateExpired));
    // The intermediate's time is over after three years, whatever the leaf says.
    let late = start() + TimeDelta::days(3 * 365 + 1);
    let request = fleet.terminal_key.request().unwrap();
    let leaf = fleet.north.issue_terminal(&request, &"till-1".parse().unwrap(), late).unwrap();
    assert_eq!(fleet.check(&leaf, Purpose::Client, late), Err(Why::CertificateExpired));
}

#[test]
fn stolen_terminal_certificate_at_another_branch() {
    let fleet = Fleet::new();
    // Shown with the other branch's intermediate, it leads nowhere; its own says where it belongs.
    let elsewhere = [fleet.terminal[0].clone(), fleet.south.chain()[0].clone()];
    assert_eq!(fleet.check(&elsewhere, Purpose::Client, start()), Err(Why::CertificateChain));
    let found = fleet.check(&fleet.terminal, Purpose::Client, start()).unwrap();
    assert_eq!(found.branch(), Some(&"north".parse().unwrap()));
}

#[test]
fn a_branch_speaks_for_no_other_and_not_for_head_office() {
    let fleet = Fleet::new();
    for other in ["till-1.south.fleet.example", "south.fleet.example", "fleet.example"] {
        let forged = fleet.forged(|p| {
            p.subject_alt_names = vec![name(other)];
            p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        });
        for purpose in [Purpose::Client, Purpose::Server] {
            assert_eq!(fleet.check(&forged, purpose, start()), Err(Why::CertificateChain), "{other}");
        }
    }
    // The same with the right name is accepted: the refusals above are for the name alone.
    fleet.check(&fleet.forged(|_| ()), Purpose::Client, start()).unwrap();
    let request = TlsKey::generate().unwrap().request().unwrap();
    let refused = fleet.north.issue_branch(&request, &"west".parse().unwrap(), start()).unwrap_err();
    assert_eq!(refused.why(), Why::CertificatePurpose);
}

#[test]
fn a_branch_makes_no_further_authority() {
    let fleet = Fleet::new();
    let pkcs8 = PrivatePkcs8KeyDer::from(pem::parse(fleet.north_key.to_pem().expose()).unwrap().into_contents());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let north = Issuer::from_ca_cert_der(&fleet.north.chain()[0], key).unwrap();
    let uses = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut below = CertificateParams::default();
    below.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    below.extended_key_usages = uses.clone();
    below.subject_alt_names = vec![name("north.fleet.example")];
    let below_key = KeyPair::generate().unwrap();
    let below_certificate = below.signed_by(&below_key, &north).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.extended_key_usages = uses;
    leaf.subject_alt_names = vec![name("till-1.north.fleet.example")];
    let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &Issuer::from_params(&below, &below_key)).unwrap();
    let chain = [leaf.der().clone(), below_certificate.der().clone(), fleet.north.chain()[0].clone()];
    assert_eq!(fleet.check(&chain, Purpose::Client, start()), Err(Why::CertificateChain));
}

#[test]
fn other_names_no_names_and_other_uses_are_refused() {
    let fleet = Fleet::new();
    let why =
        |edit: &dyn Fn(&mut CertificateParams)| fleet.check(&fleet.forged(edit), Purpose::Client, start()).unwrap_err();
    let mine = || name("till-1.north.fleet.example");
    assert_eq!(why(&|p| p.subject_alt_names.clear()), Why::CertificateName);
    assert_eq!(why(&|p| p.subject_alt_names = vec![mine(), mine()]), Why::CertificateName);
    assert_eq!(
        why(&|p| p.subject_alt_names = vec![mine(), SanType::IpAddress([10, 0, 0, 1].into())]),
        Why::CertificateName
    );
    assert_eq!(why(&|p| p.subject_alt_names = vec![SanType::IpAddress([10, 0, 0, 1].into())]), Why::CertificateName);
    assert_eq!(
        why(&|p| p.subject_alt_names = vec![SanType::URI("x:till-1.north.fleet.example".try_into().unwrap())]),
        Why::CertificateName
    );
    assert_eq!(why(&|p| p.subject_alt_names = vec![name("*.north.fleet.example")]), Why::CertificateName);
    assert_eq!(why(&|p| p.subject_alt_names = vec![name("till-1.north.other.example")]), Why::CertificateName);
    assert_eq!(why(&|p| p.extended_key_usages.clear()), Why::CertificatePurpose);
    assert_eq!(why(&|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]), Why::CertificatePurpose);
    assert_eq!(why(&|p| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)), Why::CertificateChain);
}

#[test]
fn strangers_and_noise_are_refused() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    assert_eq!(fleet.check(&other.terminal, Purpose::Client, start()), Err(Why::CertificateChain));
    assert_eq!(fleet.check(&[], Purpose::Client, start()), Err(Why::CertificateForm));
    assert_eq!(fleet.check(&fleet.terminal[..1], Purpose::Client, start()), Err(Why::CertificateChain));
    assert_eq!(fleet.check(&[vec![0x30; 100].into()], Purpose::Client, start()), Err(Why::CertificateForm));
    assert_eq!(fleet.check(&[vec![0x30; 20_000].into()], Purpose::Client, start()), Err(Why::TooLarge));
    let many: Vec<_> = std::iter::repeat_n(fleet.terminal[0].clone(), 4).collect();
    assert_eq!(fleet.check(&many, Purpose::Client, start()), Err(Why::TooLarge));
}

#[test]
fn a_request_proves_its_key_and_decides_nothing_else() {
    let fleet = Fleet::new();
    let key = TlsKey::generate().unwrap();
    let request = key.request().unwrap();
    // A request that asks for another name and for authority gets neither.
    let pkcs8 = PrivatePkcs8KeyDer::from(pem::parse(key.to_pem().expose()).unwrap().into_contents());
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut greedy = CertificateParams::new(vec!["fleet.example".to_owned()]).unwrap();
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let greedy = greedy.serialize_request(&pair).unwrap();
    assert_eq!(request_key(greedy.der()).unwrap(), request_key(&request).unwrap());
    let chain = fleet.north.issue_terminal(greedy.der(), &"till-2".parse().unwrap(), start()).unwrap();
    let till = Identity::Terminal("north".parse().unwrap(), "till-2".parse().unwrap());
    assert_eq!(fleet.check(&chain, Purpose::Client, start()), Ok(till));
    assert_eq!(fleet.check(&chain, Purpose::Server, start()), Err(Why::CertificatePurpose));
    // Altered, it is not signed by its own key.
    let mut altered = request.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(request_key(&altered).unwrap_err().why(), Why::CertificateForm);
    assert_eq!(request_key(&vec![0; 20_000]).unwrap_err().why(), Why::TooLarge);
}

#[test]
fn what_is_denied_is_refused_by_serial_by_key_and_by_its_branch() {
    let fleet = Fleet::new();
    let checked =
        check_chain(&fleet.terminal, &fleet.root(), &suffix(), Purpose::Client, start(), &DenyList::default()).unwrap();
    assert_eq!(checked.key, request_key(&fleet.terminal_key.request().unwrap()).unwrap());
    let denied = |d: &DenyList| fleet.check_denied(&fleet.terminal, Purpose::Client, start(), d);
    let by_serial = DenyList { serials: [checked.serial].into(), ..DenyList::default() };
    let by_key = DenyList { keys: [checked.key].into(), ..DenyList::default() };
    let of_branch = request_key(&fleet.north_key.request().unwrap()).unwrap();
    let by_branch = DenyList { keys: [of_branch].into(), ..DenyList::default() };
    for list in [&by_serial, &by_key, &by_branch] {
        assert_eq!(denied(list), Err(Why::CertificateDenied));
    }
    // A new certificate for the same stolen key is denied too, one for a new key is not.
    let till = "till-1".parse().unwrap();
    let renewed = fleet.north.issue_terminal(&fleet.terminal_key.request().unwrap(), &till, start()).unwrap();
    assert_eq!(fleet.check_denied(&renewed, Purpose::Client, start(), &by_key), Err(Why::CertificateDenied));
    let fresh = fleet.north.issue_terminal(&TlsKey::generate().unwrap().request().unwrap(), &till, start()).unwrap();
    fleet.check_denied(&fresh, Purpose::Client, start(), &by_key).unwrap();
}

#[test]
fn certificate_names_the_key_that_signs_statements() {
    let fleet = Fleet::new();
    let signer = certificate_signer(&fleet.terminal[0]).unwrap();
    assert!(signer.is_some() && signer == request_signer(&fleet.terminal_key.request().unwrap()).unwrap());
    // The intermediate has a P-256 key, which signs no statements.
    assert_eq!(certificate_signer(&fleet.terminal[1]).unwrap(), None);
    let torn = CertificateDer::from(fleet.terminal[0][..40].to_vec());
    assert_eq!(certificate_signer(&torn).unwrap_err().why(), Why::CertificateForm);
}
