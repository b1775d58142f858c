//! Sessions of browsers: the cookie, and proof that no other site sent the request.
//!
//! The cookie is always `__Host-…; Secure; HttpOnly; SameSite=Strict; Path=/`, also on a listener without TLS: browsers
//! take it over plain HTTP from this very machine (`http://localhost`, `http://127.0.0.1`), which they trust, and from
//! nowhere else. So nothing has to be switched off for a local console, and a session never crosses a network in clear.

use actix_web::HttpRequest;
use actix_web::http::Uri;
use actix_web::http::header::{COOKIE, HOST, HeaderName, ORIGIN};
use sha2::{Digest as _, Sha256};
use wire::Code;
use wire::v1::operators::CSRF_HEADER;

use super::{ApiError, PeerCertificates};
use crate::token::MAX_TOKEN_LEN;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The `Set-Cookie` that begins a session of at most `seconds`.
pub fn session_cookie(name: &str, value: &str, seconds: i64) -> String {
    format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict")
}

/// The `Set-Cookie` that makes a browser forget it.
pub fn ended_cookie(name: &str) -> String {
    session_cookie(name, "", 0)
}

/// The token that goes with a session's cookie: who knows it knows the cookie, or was told by us. Nothing is kept of it.
pub fn csrf_token(cookie: &str) -> String {
    let mut hash = Sha256::new_with_prefix("filial-csrf-v1\n");
    hash.update(cookie.as_bytes());
    hex::encode(hash.finalize())
}

/// The value of the one cookie of that name. Two count as absent: one would have been planted.
pub(super) fn cookie<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let headers = request.headers().get_all(COOKIE).filter_map(|value| value.to_str().ok());
    let pairs = headers.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let value = values.next().filter(|value| (1..=MAX_TOKEN_LEN).contains(&value.len()))?;
    values.next().is_none().then_some(value)
}

/// Returns whether the network cannot listen: TLS, or a connection from this machine.
pub fn is_private(request: &HttpRequest) -> bool {
    request.conn_data::<PeerCertificates>().is_some()
        || request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

/// Whether a browser says that another site caused this request. Programs say nothing, which is no.
pub fn from_other_site(request: &HttpRequest) -> bool {
    let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let other_origin =
        text(ORIGIN).is_some_and(|origin| Some(origin) != text(HOST).and_then(|host| same(origin, host)));
    other_origin || text(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin")
}

/// `origin` if it is the one of `host`; a proxy in front may have ended TLS.
fn same<'a>(origin: &'a str, host: &str) -> Option<&'a str> {
    let uri: Uri = origin.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    (known && uri.authority()?.as_str().eq_ignore_ascii_case(host)).then_some(origin)
}

/// Refuses a request by cookie that changes something unless it provably comes from our own page: it repeats the token
/// that only our page was told, and the browser names our origin.
pub(super) fn check_own_site(request: &HttpRequest, cookie: &str) -> Result<(), ApiError> {
    let refused = |detail: &str| {
        let remedy = "Send it from the server's own page with the token of GET /v1/session in X-Filial-Csrf; programs \
            use an API token instead of the cookie.";
        Err(ApiError::new(Code::CrossSite, detail, remedy))
    };
    if from_other_site(request) {
        return refused("The browser says that another site sent this request.");
    }
    let headers = request.headers();
    if !headers.contains_key(ORIGIN) && !headers.contains_key(SEC_FETCH_SITE) {
        return refused("The request does not say from which site it comes.");
    }
    let mut given = headers.get_all(CSRF_HEADER).map(|value| value.as_bytes());
    match (given.next(), given.next()) {
        (Some(token), None) if equal(token, csrf_token(cookie).as_bytes()) => Ok(()),
        (None, _) => refused("The request does not carry the session's token."),
        _ => refused("The request carries another token than the session's."),
    }
}

/// In a time that does not tell how much of it is equal.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn request(headers: &[(&'static str, &str)]) -> HttpRequest {
        let request = TestRequest::post();
        headers.iter().fold(request, |r, (name, value)| r.append_header((*name, *value))).to_http_request()
    }

    #[test]
    fn one_cookie_is_found_among_others_and_two_are_none() {
        let of = |text| cookie(&request(&[("cookie", text)]), "__Host-s").map(str::to_owned);
        assert_eq!(of("a=b; __Host-s=v; c=d").as_deref(), Some("v"));
        assert_eq!(of("__Host-s=v; __Host-s=w"), None);
        assert_eq!(of("__Host-sx=v"), None);
        assert_eq!(of("__Host-s="), None);
        assert_eq!(of(&format!("__Host-s={}", "x".repeat(257))), None);
        assert_eq!(cookie(&request(&[("cookie", "__Host-s=v"), ("cookie", "__Host-s=w")]), "__Host-s"), None);
    }

    #[test]
    fn the_cookie_has_every_attribute() {
        let text = session_cookie("__Host-s", "v", 60);
        for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=60"] {
            assert!(text.split("; ").any(|part| part == attribute), "{text}");
        }
        assert!(!text.contains("Domain") && ended_cookie("__Host-s").contains("Max-Age=0"));
    }

    #[test]
    fn only_our_own_page_with_its_token_is_let_through() {
        let token = csrf_token("v");
        let (own, csrf) = (("origin", "http://desk:7001"), (CSRF_HEADER, token.as_str()));
        let host = ("host", "desk:7001");
        let ok = |headers: &[_]| check_own_site(&request(headers), "v").is_ok();
        assert!(ok(&[host, own, csrf]) && ok(&[host, ("sec-fetch-site", "same-origin"), csrf]));
        assert!(ok(&[host, ("origin", "https://DESK:7001"), csrf]));
        let wrong = csrf_token("w");
        for bad in [
            &[host, own][..],
            &[host, csrf],
            &[own, csrf],
            &[host, own, (CSRF_HEADER, wrong.as_str())],
            &[host, own, csrf, csrf],
            &[host, ("origin", "http://desk:7002"), csrf],
            &[host, ("origin", "http://desk:7001.evil.example"), csrf],
            &[host, ("origin", "http://desk:7001@evil.example"), csrf],
            &[host, ("origin", "null"), csrf],
            &[host, ("origin", "ftp://desk:7001"), csrf],
            &[host, own, ("sec-fetch-site", "same-site"), csrf],
            &[host, ("sec-fetch-site", "cross-site"), csrf],
            &[host, ("sec-fetch-site", "none"), csrf],
        ] {
            assert!(!ok(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_program_that_says_nothing_of_sites_is_none() {
        assert!(!from_other_site(&request(&[("host", "desk")])));
        assert!(from_other_site(&request(&[("host", "desk"), ("origin", "http://evil.example")])));
    }
}
