//! What lies between TCP and HTTP: nothing, or TLS (RFC 8446) with certificates of both ends.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Asked at each connection, so that a renewed certificate is used at once.
pub type TlsSource = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// Returns by what name a certificate's connections are counted; none for one that is a stranger's.
///
/// A machine can have many certificates at once, and one in other hands can issue them: a name must be what it cannot choose.
pub type Holder = Arc<dyn Fn(&PeerCertificates) -> Option<String> + Send + Sync>;

/// What a listener speaks below HTTP.
#[derive(Clone, Default)]
pub enum Transport {
    /// Plain TCP.
    #[default]
    Plain,
    /// TLS, as this configuration says.
    Tls(TlsSource),
    /// TLS with machines that present certificates.
    Mutual(TlsSource, Holder),
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Tls(_) => "Tls",
            Self::Mutual(..) => "Mutual",
        })
    }
}

/// The connection is encrypted, and this is what its other end presented: the leaf first, nothing if it need not. That the
/// chain holds was checked in the handshake; who must still hold now asks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificates(pub Vec<CertificateDer<'static>>);

/// One connection.
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Makes the connection what the listener speaks. A handshake may take `limit`.
    pub(super) async fn accept(&self, io: TcpStream, limit: Duration) -> io::Result<Connection> {
        let source = match self {
            Self::Plain => return Ok(Connection::Plain(io)),
            Self::Tls(source) | Self::Mutual(source, _) => source,
        };
        let handshake = TlsAcceptor::from(source()).accept(io);
        let accepted = tokio::time::timeout(limit, handshake).await;
        Ok(Connection::Tls(Box::new(accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??)))
    }
}

impl Transport {
    /// Whether a machine of the fleet, or one that is to be, does not accept this server's certificate.
    ///
    /// The alert does not say why. To a machine with a wrong clock the certificate has expired or is not valid yet.
    pub(super) fn is_distrusted(&self, error: &io::Error) -> bool {
        use rustls::AlertDescription as Alert;
        let error = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::AlertReceived(alert)) = error else { return false };
        let of_certificate =
            [Alert::BadCertificate, Alert::CertificateExpired, Alert::CertificateUnknown, Alert::UnknownCA];
        matches!(self, Self::Mutual(..)) && of_certificate.contains(alert)
    }

    /// Returns by what name the connections of this peer are counted.
    pub(super) fn holder(&self, presented: &PeerCertificates) -> Option<String> {
        match self {
            Self::Mutual(_, holder) if !presented.0.is_empty() => holder(presented),
            _ => None,
        }
    }
}

impl Connection {
    /// What the other end presented; nothing without TLS.
    pub(super) fn peer_certificates(&self) -> Option<PeerCertificates> {
        let Self::Tls(stream) = self else { return None };
        let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Some(PeerCertificates(presented.iter().map(|c| c.clone().into_owned()).collect()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
