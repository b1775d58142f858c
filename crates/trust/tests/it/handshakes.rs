//! Certificates in real handshakes: who is let in, and who is not.

use std::sync::{Arc, Mutex};

use crate::certificates::{Fleet, north, suffix};
use crate::fleet::start;
use chrono::TimeDelta;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, ServerConfig, ServerConnection};
use rustls_pki_types::CertificateDer;
use service_kit::FixedClock;
use trust::certificates::{
    Anchor, Authority, Clients, DenyList, FleetTime, Identity, Peer, TlsKey, client_config, fingerprint, request_key,
    server_config,
};

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
    assert!(refused.contains(r#"OtherServer { identity: "branch north", expected: "branch south" }"#), "{refused}");
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
    assert!(refused.contains(r#"OtherServer { identity: "head office", expected: "a branch" }"#), "{refused}");
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
