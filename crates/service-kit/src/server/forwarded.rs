//! Where a request comes from, also behind a proxy.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::X_FORWARDED_FOR;

use super::bounds::Limits;

/// Returns the address of who asks: the other end of the connection, or what a trusted proxy there says of its own other end.
///
/// A proxy appends that to X-Forwarded-For; what stands before it the caller may have written itself. Of several trusted proxies
/// in a row the first one's word counts.
pub fn address_of(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip().to_canonical();
    let Some(limits) = request.app_data::<Limits>().filter(|limits| limits.trusts(peer)) else { return Some(peer) };
    let lines: Vec<&str> = request.headers().get_all(X_FORWARDED_FOR).filter_map(|line| line.to_str().ok()).collect();
    let mut nearest = peer;
    for entry in lines.iter().flat_map(|line| line.split(',')).rev() {
        let Ok(address) = entry.trim().parse::<IpAddr>() else { break };
        nearest = address.to_canonical();
        if !limits.trusts(nearest) {
            break;
        }
    }
    Some(nearest)
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
    fn only_a_trusted_proxy_is_believed_and_only_its_own_word() {
        assert_eq!(asked("10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(asked("::ffff:10.0.0.7", &["1.2.3.4, 5.6.7.8"]), "5.6.7.8");
        assert_eq!(asked("10.0.0.7", &["1.2.3.4", "5.6.7.8, 10.0.0.8"]), "5.6.7.8");
        assert_eq!(asked("10.0.0.7", &[]), "10.0.0.7");
        assert_eq!(asked("10.0.0.7", &["1.2.3.4, unknown"]), "10.0.0.7");
    }
}
