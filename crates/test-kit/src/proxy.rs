//! A TCP proxy that breaks connections on purpose.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Faults {
    refuse: AtomicBool,
    cut_after: AtomicU64,
}

/// Forwards to a server until told to misbehave. Ends with the runtime of the test.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    faults: Arc<Faults>,
}

impl FaultProxy {
    /// A proxy in front of `target`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let faults = Arc::new(Faults { refuse: AtomicBool::new(false), cut_after: AtomicU64::new(NEVER) });
        let shared = faults.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.refuse.load(Ordering::SeqCst) {
                    continue;
                }
                let cut = shared.cut_after.swap(NEVER, Ordering::SeqCst);
                tokio::spawn(forward(client, target, cut));
            }
        });
        Ok(Self { address, faults })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on new connections are dropped at once, or no longer.
    pub fn refuse(&self, refuse: bool) {
        self.faults.refuse.store(refuse, Ordering::SeqCst);
    }

    /// The next connection breaks once the client has sent this many bytes.
    pub fn cut_next_after(&self, bytes: u64) {
        self.faults.cut_after.store(bytes, Ordering::SeqCst);
    }
}

async fn forward(client: TcpStream, target: SocketAddr, cut: u64) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut left = cut;
        let mut buffer = [0; 16 * 1024];
        while left > 0 {
            let Ok(n @ 1..) = from_client.read(&mut buffer).await else { break };
            let n = n.min(usize::try_from(left).unwrap_or(usize::MAX));
            if to_server.write_all(&buffer[..n]).await.is_err() {
                break;
            }
            left = if cut == NEVER { NEVER } else { left - n as u64 };
        }
        // A client may half-close and still wait for its answer; a cut ends both directions.
        if left > 0 {
            let _ = to_server.shutdown().await;
            std::future::pending::<()>().await;
        }
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! { () = up => {}, _ = down => {} }
}
