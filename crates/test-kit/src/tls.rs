//! TLS for tests: a branch server's key and certificates, and a tunnel for clients that speak plain TCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, TerminalName};
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use service_kit::Secret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use trust::Refusal;
use trust::certificates::{
    Authority, Chain, JoinToken, Suffix, TlsKey, certificate_from_pem, certificate_to_pem, fingerprint, request_key,
    request_to_pem,
};
use wire::v1::sync::EnrolResponse;

/// A branch server's key.
#[derive(Clone)]
pub struct BranchKey(Secret);

/// A certificate for one end of a connection, with its key.
pub struct Leaf {
    /// The certificate, and the intermediate above it.
    pub chain: Chain,
    /// Its key.
    pub key: TlsKey,
}

impl Leaf {
    /// As the library's configurations take it.
    pub fn own(&self) -> (Chain, &TlsKey) {
        (self.chain.clone(), &self.key)
    }
}

impl BranchKey {
    /// A new one.
    ///
    /// # Errors
    /// The random source failed.
    pub fn generate() -> Result<Self, Refusal> {
        Ok(Self(TlsKey::generate()?.to_pem()))
    }

    /// One that a branch server has: PEM.
    pub fn from_pem(pem: Secret) -> Self {
        Self(pem)
    }

    /// The key in PEM.
    pub fn to_pem(&self) -> Secret {
        self.0.clone()
    }

    fn key(&self) -> Result<TlsKey, Refusal> {
        TlsKey::from_pem(&self.0)
    }

    /// A request for a certificate, in PEM.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn request(&self) -> Result<String, Refusal> {
        Ok(request_to_pem(&self.key()?.request()?))
    }

    /// SHA-256 of the public key.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn digest(&self) -> Result<Digest, Refusal> {
        request_key(&self.key()?.request()?)
    }

    /// The chain of `branch`'s server with the intermediate `certificate` (PEM).
    ///
    /// Not checked to match.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn leaf(&self, branch: &BranchName, certificate: &str, now: DateTime<Utc>) -> Result<Leaf, Refusal> {
        let chain = vec![certificate_from_pem(certificate)?];
        let intermediate = Authority::open(Suffix::default(), Some(branch.clone()), chain, self.key()?)?;
        let key = TlsKey::generate()?;
        Ok(Leaf { chain: intermediate.issue_own(&key.request()?, now)?, key })
    }
}

/// A fleet's authority with one branch, which certifies terminals as its server does.
pub struct TestBranch {
    name: BranchName,
    authority: Authority,
    branch: Authority,
}

impl TestBranch {
    /// A new fleet with this branch.
    ///
    /// # Errors
    /// `name` is not valid, or the cryptographic library failed.
    pub fn new(name: &str, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let authority = Authority::begin(Suffix::default(), TlsKey::generate()?, now)?;
        let name: BranchName =
            name.parse().map_err(|e| Refusal::new(trust::Why::CertificateName, format!("{name}: {e}.")))?;
        let branch = intermediate(&authority, &name, now)?;
        Ok(Self { name, authority, branch })
    }

    /// Renews the intermediate, as a branch server does by itself.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn renew(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        self.branch = intermediate(&self.authority, &self.name, now)?;
        Ok(())
    }

    /// The fleet's authority.
    pub fn root(&self) -> &CertificateDer<'static> {
        // An authority is made of its certificate.
        &self.authority.chain()[0]
    }

    /// Its SHA-256.
    pub fn fingerprint(&self) -> Digest {
        fingerprint(self.root())
    }

    /// The join token with this secret, whole.
    ///
    /// # Errors
    /// The secret is too short.
    pub fn join_token(&self, secret: &str) -> Result<Secret, Refusal> {
        Ok(JoinToken::new(Secret::new(secret), self.fingerprint())?.to_text())
    }

    /// A certificate of the branch server's own.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn own(&self, now: DateTime<Utc>) -> Result<Leaf, Refusal> {
        let key = TlsKey::generate()?;
        Ok(Leaf { chain: self.branch.issue_own(&key.request()?, now)?, key })
    }

    /// What the branch server answers to this request.
    ///
    /// # Errors
    /// The request cannot be used.
    pub fn certify(
        &self,
        request: &[u8],
        terminal: &TerminalName,
        now: DateTime<Utc>,
    ) -> Result<EnrolResponse, Refusal> {
        let chain = self.branch.issue_terminal(request, terminal, now)?;
        Ok(EnrolResponse {
            branch: self.name.clone(),
            certificate: certificate_to_pem(&chain[0]),
            intermediate: certificate_to_pem(&self.branch.chain()[0]),
            authority: certificate_to_pem(self.root()),
        })
    }
}

fn intermediate(authority: &Authority, name: &BranchName, now: DateTime<Utc>) -> Result<Authority, Refusal> {
    let key = TlsKey::generate()?;
    let chain = authority.issue_branch(&key.request()?, name, now)?;
    Authority::open(Suffix::default(), Some(name.clone()), chain, key)
}

/// Returns a TCP connection from this address of the loopback network.
///
/// Its receive buffer is small: what the kernel holds for a slow reader is none of the server's memory.
///
/// # Errors
/// `to` does not listen, or there is no free port.
pub async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Returns a TLS connection from this address of the loopback network.
///
/// # Errors
/// As [`connect_from`], or the handshake failed.
pub async fn tls_from(
    from: Ipv4Addr,
    to: SocketAddr,
    tls: Arc<ClientConfig>,
) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
    let stream = connect_from(from, to).await?;
    TlsConnector::from(tls).connect(ServerName::IpAddress(to.ip().into()), stream).await
}

/// Carries plain TCP connections over TLS to a server.
///
/// Byte for byte, and ends and resets as such. Ends with the runtime of the test.
#[derive(Debug)]
pub struct TlsTunnel {
    address: SocketAddr,
}

impl TlsTunnel {
    /// A tunnel to `target`, which need not listen yet. Within a runtime.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(target: SocketAddr, tls: ClientConfig) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let connector = TlsConnector::from(Arc::new(tls));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target, connector.clone()));
            }
        });
        Ok(Self { address })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn carry(client: TcpStream, target: SocketAddr, connector: TlsConnector) {
    let Ok(server) = TcpStream::connect(target).await else { return reset(&client) };
    let Ok(server) = connector.connect(ServerName::IpAddress(target.ip().into()), server).await else {
        return reset(&client);
    };
    // The same socket under another number: what is in the middle of a write cannot be asked.
    let Ok(socket) = rustix::io::dup(server.get_ref().0) else { return };
    let (mut from_server, mut to_server) = split(server);
    let (mut from_client, mut to_client) = client.into_split();
    let up = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match from_client.read(&mut buffer).await {
                Ok(0) => {
                    // Half closed: the answer may still come.
                    let _ = to_server.shutdown().await;
                    return std::future::pending::<()>().await;
                }
                Ok(n) if to_server.write_all(&buffer[..n]).await.is_ok() && to_server.flush().await.is_ok() => {}
                Ok(_) => return std::future::pending::<()>().await,
                Err(_) => return reset(&socket),
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
            if to_client.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
        let _ = to_client.shutdown().await;
    };
    tokio::select! { () = up => {}, () = down => {} }
}

/// What is closed next is not closed politely.
fn reset(socket: impl AsFd) {
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}
