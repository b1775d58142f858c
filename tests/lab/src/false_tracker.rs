//! Trackers that lie or are silent, in the place of a branch's opentracker and on its address.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fleet_types::BranchName;

use crate::error::LabError;
use crate::lab::Lab;
use crate::part::{Part, Place, Role};
use crate::process::PATIENCE;
use crate::recipe::Recipe;
use crate::sites::TRACKER_PORT;

/// Connections that are held at once: strangers' names for a lab's handful of daemons.
const MAX_CONNECTIONS: usize = 256;

/// How a tracker lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Names peers that do not exist.
    Ghosts,
    /// Names the asker's own neighbours, at closed ports.
    WrongPorts,
    /// Names no peer and sets an interval of 68 years.
    AbsurdIntervals,
    /// Refuses every torrent.
    Failure,
    /// Ends in the middle of its answer.
    Truncated,
    /// Answers with 10 MB.
    Huge,
    /// Takes connections and never says anything.
    Silent,
}

impl Lie {
    /// Every lie, with its name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("ghosts", Self::Ghosts),
        ("wrong-ports", Self::WrongPorts),
        ("absurd-intervals", Self::AbsurdIntervals),
        ("failure", Self::Failure),
        ("truncated", Self::Truncated),
        ("huge", Self::Huge),
        ("silent", Self::Silent),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, lie)| *lie == self).map_or("", |(name, _)| name)
    }

    /// The body of its answer to a peer at `asker`; `None` if it stays silent.
    fn body(self, asker: Ipv4Addr) -> Option<Vec<u8>> {
        let [a, b, c, _] = asker.octets();
        let peers = |peers: &[SocketAddrV4]| {
            let one = |p: &SocketAddrV4| [&p.ip().octets()[..], &p.port().to_be_bytes()].concat();
            let compact: Vec<u8> = peers.iter().flat_map(one).collect();
            let head = format!("d8:completei50e10:incompletei50e8:intervali1800e5:peers{}:", compact.len());
            Some([head.as_bytes(), &compact, b"e"].concat())
        };
        let at = |last: u8, port: u16| SocketAddrV4::new(Ipv4Addr::new(a, b, c, last), port);
        match self {
            Self::Ghosts => peers(&(150..200).map(|last| at(last, 51_413)).collect::<Vec<_>>()),
            Self::WrongPorts => peers(&(1..100).map(|last| at(last, 9)).collect::<Vec<_>>()),
            Self::AbsurdIntervals => {
                let interval = i32::MAX;
                Some(format!("d8:intervali{interval}e12:min intervali{interval}e5:peers0:e").into_bytes())
            }
            Self::Failure => Some(b"d14:failure reason31:Requested download is not yourse".to_vec()),
            Self::Truncated => Some(b"d8:intervali1800e5:peers600:\x0a\x4e".to_vec()),
            Self::Huge => Some([b"d8:intervali1800e5:peers9999996:".as_slice(), &vec![b'x'; 9_999_996], b"e"].concat()),
            Self::Silent => None,
        }
    }
}

impl FromStr for Lie {
    type Err = LabError;

    fn from_str(s: &str) -> Result<Self, LabError> {
        let named = Self::ALL.iter().find(|(name, _)| *name == s).map(|(_, lie)| *lie);
        let names = Self::ALL.map(|(name, _)| name).join(", ");
        named.ok_or_else(|| LabError::Options(format!("a tracker cannot lie {s:?}; there are: {names}")))
    }
}

/// Answers every announce at `listen` with a lie, until the process ends. Scrapes are lied to as well.
///
/// # Errors
/// The address cannot be listened on.
pub fn tell_lies(listen: SocketAddrV4, lie: Lie) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    println!("a {} tracker listens on {listen}", lie.as_str());
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if open.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let open = Arc::clone(&open);
        std::thread::spawn(move || {
            if let Err(error) = answer(stream, lie) {
                println!("an asker went away: {error}");
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream, lie: Lie) -> std::io::Result<()> {
    let SocketAddr::V4(asker) = stream.peer_addr()? else { return Ok(()) };
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    stream.set_read_timeout(Some(Duration::from_secs(600)))?;
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n if request.len() + n > 16_384 => return Err(ErrorKind::InvalidData.into()),
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
    let line = String::from_utf8_lossy(&request);
    println!("{asker} {}", line.lines().next().unwrap_or_default());
    let Some(body) = lie.body(*asker.ip()) else {
        // Until the asker gives up.
        while stream.read(&mut buffer)? > 0 {}
        return Ok(());
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

impl Lab {
    /// Puts a lying tracker in the place of a branch's, on its address.
    ///
    /// # Errors
    /// The branch does not exist, or the tracker cannot be exchanged.
    pub async fn lie_tracker(&self, branch: &BranchName, lie: Lie) -> Result<(), LabError> {
        let site = self.site(branch)?;
        let address = format!("{}:{TRACKER_PORT}", crate::net::Net::branch_lan_address(site.number));
        let honest = self.processes.recipe(&Self::tracker_of(branch))?;
        // It gets the branch server's signals in the tracker's place, and must not die of them.
        let recipe = Recipe::new(&site.namespace, "env").args([
            "--ignore-signal=HUP".into(),
            self.options.program_named("lab")?.into_os_string(),
            "false-tracker".into(),
            address.into(),
            lie.as_str().into(),
        ]);
        self.exchange_tracker(branch, Recipe { pid_file: honest.pid_file, ..recipe }).await
    }

    /// Puts a branch's own tracker back.
    ///
    /// # Errors
    /// The branch does not exist, or the tracker cannot be exchanged.
    pub async fn restore_tracker(&self, branch: &BranchName) -> Result<(), LabError> {
        let recipe = self.site(branch)?.opentracker_again();
        self.exchange_tracker(branch, recipe).await
    }

    fn tracker_of(branch: &BranchName) -> Part {
        Place::Branch(branch.clone()).part(Role::Opentracker)
    }

    async fn exchange_tracker(&self, branch: &BranchName, recipe: Recipe) -> Result<(), LabError> {
        let part = Self::tracker_of(branch);
        self.processes.end(&part, PATIENCE).await?;
        self.processes.start(&part, recipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_have_names_and_say_what_they_are_called_for() {
        for (name, lie) in Lie::ALL {
            assert_eq!((name.parse::<Lie>().unwrap(), lie.as_str()), (lie, name));
        }
        assert!("honest".parse::<Lie>().is_err());
        let body = |lie: Lie| lie.body(Ipv4Addr::new(10, 78, 1, 11));
        assert!(body(Lie::Silent).is_none());
        assert_eq!(body(Lie::Huge).unwrap().len(), 10_000_029);
        let failure = String::from_utf8(body(Lie::Failure).unwrap()).unwrap();
        let (length, text) = failure.strip_prefix("d14:failure reason").unwrap().split_once(':').unwrap();
        assert_eq!(text.strip_suffix('e').unwrap().len(), length.parse::<usize>().unwrap());
    }
}
