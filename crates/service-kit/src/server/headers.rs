//! What every answer says to browsers (OWASP Secure Headers Project).

use actix_web::HttpRequest;
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use super::PeerCertificates;
use super::forwarded::is_local;

/// Everything is from here, and nothing shows it in a frame. The API browser sets styles from its script.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
/// A year.
const ENCRYPTED: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Adds what a handler did not set itself.
pub(super) fn protect(request: &HttpRequest, headers: &mut HeaderMap) {
    let mut set = |name: HeaderName, value: HeaderValue| {
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // For browsers that do not know frame-ancestors.
    set(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    set(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    // At the machine itself the name is localhost, which other programs have too.
    if request.conn_data::<PeerCertificates>().is_some() && !is_local(request) {
        set(STRICT_TRANSPORT_SECURITY, ENCRYPTED);
    }
}
