//! Users of this machine by name.

use std::path::Path;

use crate::ports::PortError;

/// The user database (passwd(5)). Users from other sources are named by number.
const PASSWD: &str = "/etc/passwd";

/// The number of a user who is named, or given by number.
///
/// # Errors
/// There is no such user.
pub fn user_id(user: &str) -> Result<u32, PortError> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    let path = Path::new(PASSWD);
    let text = std::fs::read_to_string(path).map_err(|e| PortError::with(format!("cannot read {PASSWD}"), e))?;
    number_of(&text, user).ok_or_else(|| {
        PortError::new(format!("helper.agent_user: {PASSWD} has no user {user:?}: create it, or use its number"))
    })
}

fn number_of(passwd: &str, user: &str) -> Option<u32> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.filter(|f| f.first() == Some(&user)).find_map(|f| f.get(2)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name_or_by_number() {
        let passwd = "root:x:0:0:root:/r:/bin/sh\nterminal-agent:x:997:997::/:/usr/sbin/nologin\n";
        assert_eq!(number_of(passwd, "terminal-agent"), Some(997));
        assert_eq!(number_of(passwd, "terminal"), None);
        assert_eq!(user_id("4711").unwrap(), 4711);
        assert!(user_id("no such user").unwrap_err().to_string().contains("helper.agent_user"));
    }
}
