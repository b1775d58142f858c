//! Users of this machine by name or number.

use service_kit::users::{PASSWD, find};

use crate::ports::PortError;

/// The number of a user who is named, or given by number.
///
/// # Errors
/// There is no such user.
pub fn user_id(user: &str) -> Result<u32, PortError> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    let found = find(user).map_err(|e| PortError::with(format!("cannot read {PASSWD}"), e))?;
    found.map(|found| found.uid).ok_or_else(|| {
        PortError::new(format!("helper.agent_user: {PASSWD} has no user {user:?}: create it, or use its number"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_or_by_number() {
        assert_eq!(user_id("root").unwrap(), 0);
        assert_eq!(user_id("4711").unwrap(), 4711);
        assert!(user_id("no such user").unwrap_err().to_string().contains("helper.agent_user"));
    }
}
