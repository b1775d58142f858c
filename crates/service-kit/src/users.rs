//! Users of this machine by name. Users from sources other than the user database (passwd(5)) are not known.

use std::fs::File;
use std::io::{self, Read};

/// The user database.
pub const PASSWD: &str = "/etc/passwd";

/// Most bytes of it that are read.
const MAX_PASSWD: u64 = 4 << 20;

/// The numbers of a user and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's.
    pub uid: u32,
    /// Its group's.
    pub gid: u32,
}

/// Finds a user by name; `None` if there is none. Blocking.
///
/// # Errors
/// The user database cannot be read.
pub fn find(name: &str) -> io::Result<Option<User>> {
    let mut text = Vec::new();
    File::open(PASSWD)?.take(MAX_PASSWD).read_to_end(&mut text)?;
    Ok(find_in(&String::from_utf8_lossy(&text), name))
}

/// Finds a user in the text of a user database.
pub fn find_in(passwd: &str, name: &str) -> Option<User> {
    let mut entries = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|fields| fields.first() == Some(&name))?;
    Some(User { uid: entry.get(2)?.parse().ok()?, gid: entry.get(3)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd =
            "root:x:0:0:root:/r:/bin/sh\nterminal-agent:x:997:998::/:/usr/sbin/nologin\nodd:x:y:1\nshort:x\n\n";
        assert_eq!(find_in(passwd, "terminal-agent"), Some(User { uid: 997, gid: 998 }));
        assert_eq!(find_in(passwd, "root"), Some(User { uid: 0, gid: 0 }));
        for unknown in ["terminal", "odd", "short", "x", ""] {
            assert_eq!(find_in(passwd, unknown), None, "{unknown}");
        }
        assert_eq!(find("root").unwrap(), Some(User { uid: 0, gid: 0 }));
    }
}
