//! Where a request comes from, also behind a proxy.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::{FORWARDED, X_FORWARDED_FOR};

use super::bounds::Limits;

/// Returns the address of who asks: the other end of the connection, or what a trusted proxy there says of its own other end.
///
/// A proxy appends that to X-Forwarded-For; what stands before it the caller may have written itself. Of several trusted proxies
/// in a row the first one's word counts.
pub fn address_of(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip().to_canonical();
    let Some(limits) = request.app_data::<Limits>().filter(|limits| limits.trusts(peer)) else { return Some(peer) };
    let lines: Vec<_> =
        request.headers().get_all(X_FORWARDED_FOR).map(|l| String::from_utf8_lossy(l.as_bytes())).collect();
    let mut nearest = peer;
    for entry in lines.iter().flat_map(|line| line.split(',')).rev() {
        let Some(address) = address(entry.trim()) else { break };
        nearest = address.to_canonical();
        if !limits.trusts(nearest) {
            break;
        }
    }
    Some(nearest)
}

/// An address as proxies write it, some with a port.
fn address(entry: &str) -> Option<IpAddr> {
    entry.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

/// Returns whether the request comes from a program at the machine itself, and not through a proxy there.
pub(super) fn is_local(request: &HttpRequest) -> bool {
    let Some(peer) = request.peer_addr().map(|peer| peer.ip().to_canonical()) else { return false };
    let is_proxy = request.app_data::<Limits>().is_some_and(|limits| limits.trusts(peer));
    let forwarded = request.headers().contains_key(X_FORWARDED_FOR) || request.headers().contains_key(FORWARDED);
    peer.is_loopback() && !is_proxy && !forwarded
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix_web::test::TestRequest;

    use super::*;

    fn asked(peer: &str, forwarded: &[&str]) -> String {
        let proxies = ["10.0.0.7", "10.0.0.8"].map(|a| a.parse().unwrap());
        let limits = Limits { trusted_proxies: Arc::new(proxies), ..Limits::default() };
        let request = TestRequest::default().app_data(limits).peer_addr((peer.parse::<IpAddr>().unwrap(), 4000).into());
        let request = forwarded.iter().fold(request, |r, line| r.append_header((X_FORWARDED_FOR, *line)));
        address_of(&request.to_http_request()).unwrap().to_string()
    }

    #[test]
    fn who_comes_through_a_proxy_is_not_at_the_machine() {
        let limits = || Limits { trusted_proxies: Arc::new(["127.0.0.7".parse().unwrap()]), ..Limits::default() };
        let local = |peer: &str, header: Option<&str>| {
            let request =
                TestRequest::default().app_data(limits()).peer_addr((peer.parse::<IpAddr>().unwrap(), 1).into());
            is_local(&header.into_iter().fold(request, |r, name| r.append_header((name, "::1"))).to_http_request())
        };
        assert!(local("127.0.0.1", None) && local("::1", None) && local("::ffff:127.0.0.1", None));
        assert!(!local("10.0.0.1", None) && !local("127.0.0.7", None));
        assert!(!local("127.0.0.1", Some("X-Forwarded-For")) && !local("::1", Some("Forwarded")));
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_its_own_word() {
        assert_eq!(asked("10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(asked("::ffff:10.0.0.7", &["1.2.3.4, 5.6.7.8"]), "5.6.7.8");
        assert_eq!(asked("10.0.0.7", &["1.2.3.4", "5.6.7.8, 10.0.0.8"]), "5.6.7.8");
        assert_eq!(asked("10.0.0.7", &[]), "10.0.0.7");
        assert_eq!(asked("10.0.0.7", &["1.2.3.4, unknown"]), "10.0.0.7");
        assert_eq!(asked("10.0.0.7", &["1.2.3.4", "\u{e9}, 5.6.7.8:4711"]), "5.6.7.8", "one bad entry hides no other");
        assert_eq!(asked("10.0.0.7", &["[fd00::1]:443"]), "fd00::1");
    }
}
