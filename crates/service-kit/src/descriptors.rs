//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Reserved for everything but callers' connections: the database, files, child processes.
const RESERVED: u64 = 512;

/// Raises the soft limit of open files to the hard one, and returns how many connections each of so many listeners can have.
///
/// The soft limit is 1,024 for the sake of programs that use select(2), which cannot take more (setrlimit(2), systemd.exec(5)).
pub(crate) fn connections_each(listeners: usize) -> usize {
    share(raise(), listeners)
}

fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised stays as it is, and the listeners have fewer connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current
}

/// Without a limit there is none of connections.
fn share(open: Option<u64>, listeners: usize) -> usize {
    let Some(open) = open else { return usize::MAX };
    // Under a very low limit half of it.
    let free = open.saturating_sub(RESERVED).max(open / 2);
    usize::try_from(free).unwrap_or(usize::MAX) / listeners.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_share_what_the_rest_does_not_need() {
        assert_eq!(share(Some(20_512), 2), 10_000);
        assert_eq!(share(Some(1_024), 2), 256);
        assert_eq!(share(Some(600), 1), 300);
        assert_eq!(share(None, 3), usize::MAX);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        raise();
        let after = getrlimit(Resource::Nofile);
        assert_eq!((after.current, after.maximum), (before.maximum, before.maximum));
    }
}
