//! Ports for daemons that cannot be asked for "any".

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Ports below Linux's ephemeral range (`ip_local_port_range` starts at 32768).
///
/// A port that this process frees for a moment is not given to another process's connection.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Held as long as this process lives.
static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Returns a free TCP port on loopback, reserved while this process lives.
///
/// Between asking for a port and a daemon's binding it, another test could be told the same; the two then talk to each
/// other's daemon. So each port is first reserved by a name in the abstract namespace of Unix sockets, which belongs
/// to the network namespace as ports do, and ends with the process (unix(7)).
///
/// # Panics
/// Loopback has no free port.
#[expect(clippy::panic, reason = "a test cannot go on without")]
pub fn free_port() -> u16 {
    let width = PORTS.end - PORTS.start;
    let first = rand::random_range(0..width);
    for step in 0..width {
        let port = PORTS.start + (first + step) % width;
        let Some(reservation) = reserve(port) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            RESERVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(reservation);
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free on loopback");
}

fn reserve(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("filial-test-port-{port}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut given: Vec<u16> = (0..200).map(|_| free_port()).collect();
        assert!(given.iter().all(|port| PORTS.contains(port) && reserve(*port).is_none()));
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 200);
    }
}
