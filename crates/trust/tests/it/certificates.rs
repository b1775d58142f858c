//! Certificates: who is let in, and who is not, by the library's own check and by real handshakes.

use std::sync::{Arc, Mutex};

use crate::fleet::start;
use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use service_kit::FixedClock;
use trust::certificates::{
    Anchor, Authority, Chain, Clients, DenyList, FleetTime, Identity, Peer, Purpose, Suffix, TlsKey, check_chain,
    client_config, fingerprint, request_key, server_config,
};
use trust::{SigningKey, Why};

fn suffix() -> Suffix {
    "fleet.example".parse().unwrap()
}

fn north() -> Identity {
    Identity::Branch("north".parse().unwrap())
}

/// An authority, branches north and south, a terminal of north.
struct Fleet {
    authority: Authority,
    north: Authority,
    south: Authority,
    north_key: TlsKey,
    terminal_key: TlsKey,
    terminal: Chain,
}

fn copy(key: &TlsKey) -> TlsKey {
    TlsKey::from_pem(&key.to_pem()).unwrap()
}

impl Fleet {
    fn new() -> Self {
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

    fn root(&self) -> CertificateDer<'static> {
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

/// A branch's listener and what its terminals dial with, on one clock.
struct Line {
    fleet: Fleet,
    clock: Arc<FixedClock>,
    denied: Arc<Mutex<Arc<DenyList>>>,
    time: FleetTime,
}

impl Line {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::new(start()));
        let time = FleetTime::new(clock.clone(), start() - TimeDelta::days(2));
        Self { fleet: Fleet::new(), clock, denied: Arc::default(), time }
    }

    fn list(&self) -> trust::certificates::Denied {
        let denied = self.denied.clone();
        Arc::new(move || denied.lock().unwrap().clone())
    }

    fn server(&self, clients: Clients) -> ServerConfig {
        let key = TlsKey::generate().unwrap();
        let chain = self.fleet.north.issue_own(&key.request().unwrap(), start()).unwrap();
        server_config((chain, &key), self.fleet.root(), suffix(), clients, self.list(), self.time.clone()).unwrap()
    }

    fn client(&self, own: bool, peer: Identity) -> ClientConfig {
        let own = own.then(|| (self.fleet.terminal.clone(), &self.fleet.terminal_key));
        client_config(own, Anchor::Known(self.fleet.root()), suffix(), peer, self.list(), self.time.clone()).unwrap()
    }
}

/// Both ends in memory, until neither has anything to say.
fn handshake(client: ClientConfig, server: ServerConfig) -> Result<ProtocolVersion, String> {
    // By address, as in a LAN without names: the identity is what the certificate says.
    let mut client = ClientConnection::new(Arc::new(client), std::net::IpAddr::from([10, 0, 0, 1]).into()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
            server.process_new_packets().map_err(|e| format!("server: {e}"))?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets().map_err(|e| format!("client: {e}"))?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(server.protocol_version().unwrap())
}

#[test]
fn a_handshake_lets_in_who_belongs_there() {
    let line = Line::new();
    assert_eq!(handshake(line.client(true, north()), line.server(Clients::Required)), Ok(ProtocolVersion::TLSv1_3));
    // Clients without a certificate are refused, except where enrolment is offered.
    assert!(handshake(line.client(false, north()), line.server(Clients::Required)).unwrap_err().starts_with("server"));
    handshake(line.client(false, north()), line.server(Clients::Optional)).unwrap();
    // A stranger's certificate is refused there too.
    let mut stranger = line.client(true, north());
    let other = Fleet::new();
    stranger.client_auth_cert_resolver = {
        let own = (other.terminal.clone(), &other.terminal_key);
        let config = client_config(
            Some(own),
            Anchor::Known(line.fleet.root()),
            suffix(),
            north(),
            line.list(),
            line.time.clone(),
        )
        .unwrap();
        config.client_auth_cert_resolver
    };
    assert!(handshake(stranger, line.server(Clients::Optional)).unwrap_err().starts_with("server"));
    // The terminal checks that the server is its own branch.
    let south = Identity::Branch("south".parse().unwrap());
    let refused = handshake(line.client(true, south), line.server(Clients::Required)).unwrap_err();
    assert!(refused.contains("branch north, not branch south"), "{refused}");
}

#[test]
fn who_knows_but_the_fingerprint_believes_its_authority_only() {
    let line = Line::new();
    let dial = |pinned| {
        let anchor = Anchor::Pinned(pinned);
        client_config(None, anchor, suffix(), north(), line.list(), line.time.clone()).unwrap()
    };
    let (own, other) = (fingerprint(&line.fleet.root()), fingerprint(&Fleet::new().root()));
    handshake(dial(own), line.server(Clients::Optional)).unwrap();
    let refused = handshake(dial(other), line.server(Clients::Optional)).unwrap_err();
    assert!(refused.contains("did not present the pinned authority"), "{refused}");
    // Sent along is not enough: the chain must lead there.
    let mut deceiver = line.server(Clients::Optional);
    deceiver.cert_resolver = {
        let key = TlsKey::generate().unwrap();
        let mut chain = Fleet::new().north.issue_own(&key.request().unwrap(), start()).unwrap();
        chain.push(line.fleet.root());
        let own = (chain, &key);
        let none = (Fleet::new().root(), suffix(), Clients::Optional);
        server_config(own, none.0, none.1, none.2, line.list(), line.time.clone()).unwrap().cert_resolver
    };
    assert!(handshake(dial(own), deceiver).unwrap_err().starts_with("client"));
}

#[test]
fn before_enrolment_any_branchs_server_is_believed_and_no_other() {
    let line = Line::new();
    let dial = || {
        let (anchor, time) = (Anchor::Pinned(fingerprint(&line.fleet.root())), line.time.clone());
        client_config(None, anchor, suffix(), Peer::AnyBranch, line.list(), time).unwrap()
    };
    let listener = |authority: &Authority| {
        let key = TlsKey::generate().unwrap();
        let own = (authority.issue_own(&key.request().unwrap(), start()).unwrap(), &key);
        let (root, time) = (line.fleet.root(), line.time.clone());
        server_config(own, root, suffix(), Clients::Optional, line.list(), time).unwrap()
    };
    for branch in [&line.fleet.north, &line.fleet.south] {
        handshake(dial(), listener(branch)).unwrap();
    }
    let refused = handshake(dial(), listener(&line.fleet.authority)).unwrap_err();
    assert!(refused.contains("head office, not a branch"), "{refused}");
}

#[test]
fn a_denial_counts_at_the_next_handshake() {
    let line = Line::new();
    let (server, client) = (line.server(Clients::Required), line.client(true, north()));
    handshake(client.clone(), server.clone()).unwrap();
    let key = request_key(&line.fleet.terminal_key.request().unwrap()).unwrap();
    *line.denied.lock().unwrap() = Arc::new(DenyList { keys: [key].into(), ..DenyList::default() });
    // With the very same configurations: no session is resumed past the list.
    assert!(handshake(client, server).unwrap_err().contains("Revoked"));
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_time_has_a_floor() {
    let line = Line::new();
    let versions = |v: &[&'static rustls::SupportedProtocolVersion]| {
        // A client of another make, which offers only these.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(line.fleet.root()).unwrap();
        let builder = ClientConfig::builder_with_details(provider, Arc::new(line.time.clone()));
        builder.with_protocol_versions(v).unwrap().with_root_certificates(roots).with_no_client_auth()
    };
    for (version, expected) in
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let mut client = versions(&[version]);
        client.dangerous().set_certificate_verifier(any_server());
        assert_eq!(handshake(client, line.server(Clients::Optional)), Ok(expected));
    }
    // The clock falls back: the floor keeps certificates from being "not valid yet".
    line.clock.set("1970-01-01T00:00:00Z".parse().unwrap());
    assert!(handshake(line.client(true, north()), line.server(Clients::Required)).is_err());
    line.time.set_floor(start());
    handshake(line.client(true, north()), line.server(Clients::Required)).unwrap();
    line.time.set_floor(start() + TimeDelta::days(91));
    assert!(handshake(line.client(true, north()), line.server(Clients::Required)).is_err());
}

#[test]
fn what_is_over_by_the_floor_alone_ends_no_connection_to_a_server_and_lets_no_client_in() {
    let line = Line::new();
    line.time.set_floor(start() + TimeDelta::days(91));
    handshake(line.client(false, north()), line.server(Clients::Optional)).unwrap();
    let refused = handshake(line.client(true, north()), line.server(Clients::Optional)).unwrap_err();
    assert!(refused.contains("Expired"), "{refused}");
    // By the clock, too.
    line.clock.set(start() + TimeDelta::days(91));
    assert!(handshake(line.client(false, north()), line.server(Clients::Optional)).is_err());
}

/// Believes any server: for the client of another make, which looks at versions only.
fn any_server() -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::{ServerName, UnixTime};

    #[derive(Debug)]
    struct Any;
    impl ServerCertVerifier for Any {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
    Arc::new(Any)
}
