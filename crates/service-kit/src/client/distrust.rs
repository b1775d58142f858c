//! Finds in a failed request what TLS has to say: the libraries above it wrap it in errors that only say "error sending request".

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// Why one end did not trust the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The server belongs to the fleet, but another one was dialled.
    #[error(transparent)]
    OtherServer(OtherServer),
    /// Anything else: a sentence without its full stop.
    #[error("{0}")]
    Other(String),
}

/// What a verifier of certificates says of a server of the fleet that is not the dialled one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("The server is {identity}, not {expected}")]
pub struct OtherServer {
    /// Whose certificate it presented.
    pub identity: String,
    /// Which server was dialled.
    pub expected: String,
}

/// Returns why one end did not trust the other; `None` if that is not the cause.
pub(super) fn reason(error: &(dyn Error + 'static)) -> Option<Distrust> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<TlsError>() {
            return explained(tls);
        }
        // An I/O error does not count what it was made of among its causes.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn explained(error: &TlsError) -> Option<Distrust> {
    use AlertDescription as Alert;
    let why = match error {
        // What the certificate's verifier says: the library would show it in debug notation.
        TlsError::InvalidCertificate(CertificateError::Other(other)) => match other.0.downcast_ref::<OtherServer>() {
            Some(server) => return Some(Distrust::OtherServer(server.clone())),
            None => other.0.to_string(),
        },
        TlsError::InvalidCertificate(certificate) => format!("its certificate is refused: {certificate}"),
        TlsError::AlertReceived(
            alert @ (Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied),
        ) => format!("it refuses this end's certificate ({alert:?})"),
        TlsError::AlertReceived(Alert::ProtocolVersion) => "it speaks no version of TLS from 1.2 on".to_owned(),
        _ => return None,
    };
    Some(Distrust::Other(why.trim_end_matches('.').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use rustls::OtherError;

    #[test]
    fn what_tls_says_is_found_below_an_io_error_and_nothing_else_is() {
        let of_verifier = |inner: Arc<dyn Error + Send + Sync>| {
            let tls = TlsError::InvalidCertificate(CertificateError::Other(OtherError(inner)));
            reason(&io::Error::new(io::ErrorKind::InvalidData, tls)).unwrap()
        };
        let server = OtherServer { identity: "branch north".to_owned(), expected: "head office".to_owned() };
        assert_eq!(of_verifier(Arc::new(server.clone())), Distrust::OtherServer(server));
        let expired = of_verifier(Arc::new(io::Error::other("The certificate expired.")));
        assert_eq!(expired, Distrust::Other("The certificate expired".to_owned()));
        let alert = reason(&io::Error::other(TlsError::AlertReceived(AlertDescription::CertificateExpired))).unwrap();
        assert_eq!(alert.to_string(), "it refuses this end's certificate (CertificateExpired)");
        assert_eq!(reason(&io::Error::other("no route to host")), None);
        assert_eq!(reason(&io::Error::other(TlsError::DecryptError)), None);
    }
}
