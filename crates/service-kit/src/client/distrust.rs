//! Finds in a failed request what TLS has to say: the libraries above it wrap it in errors that only say "error sending request".

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// Returns why one end did not trust the other, without its full stop; `None` if that is not the cause.
pub(super) fn reason(error: &(dyn Error + 'static)) -> Option<String> {
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

fn explained(error: &TlsError) -> Option<String> {
    use AlertDescription as Alert;
    let why = match error {
        // The words of the certificate's verifier: the library would show them in debug notation.
        TlsError::InvalidCertificate(CertificateError::Other(other)) => other.0.to_string(),
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
    Some(why.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use rustls::OtherError;

    #[test]
    fn what_tls_says_is_found_below_an_io_error_and_nothing_else_is() {
        let inner = io::Error::other("The server is branch north, not head office.");
        let tls = TlsError::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(inner))));
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, tls);
        assert_eq!(reason(&wrapped).unwrap(), "The server is branch north, not head office");
        let alert = io::Error::other(TlsError::AlertReceived(AlertDescription::CertificateExpired));
        assert_eq!(reason(&alert).unwrap(), "it refuses this end's certificate (CertificateExpired)");
        assert_eq!(reason(&io::Error::other("no route to host")), None);
        assert_eq!(reason(&io::Error::other(TlsError::DecryptError)), None);
    }
}
