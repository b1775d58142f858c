//! What an entry of the audit log says was done, in words.

use wire::v1::paths;

/// The words of requests, by method and path.
const WORDS: &[(&str, &str, &str)] = &[
    ("POST", paths::SESSION, "log in"),
    ("DELETE", paths::SESSION, "log out"),
    ("DELETE", paths::SESSION_OF, "end session"),
    ("PUT", paths::PASSWORD, "change own password"),
    ("POST", paths::TOKENS, "create token"),
    ("DELETE", paths::TOKEN, "revoke token"),
    ("POST", paths::OPERATORS, "add operator"),
    ("PATCH", paths::OPERATOR, "change operator"),
    ("PUT", paths::OPERATOR_PASSWORD, "set password"),
    ("POST", paths::UPLOADS, "begin upload"),
    ("PATCH", paths::UPLOAD, "complete upload"),
    ("DELETE", paths::UPLOAD, "cancel upload"),
    ("POST", paths::RELEASE_APPROVE, "approve release"),
    ("POST", paths::RELEASE_SIGNATURES, "sign release"),
    ("POST", paths::RELEASE_WITHDRAW, "withdraw release"),
    ("POST", paths::BRANCHES, "add branch"),
    ("DELETE", paths::BRANCH, "remove branch"),
    ("POST", paths::BRANCH_DENY, "deny branch"),
    ("POST", paths::BRANCH_ALLOW, "allow branch"),
    ("POST", paths::BRANCH_REPORTS, "take in reports of a kit"),
    ("POST", paths::TERMINAL_KEY, "accept key of terminal"),
    ("DELETE", paths::TERMINAL, "remove terminal"),
    ("POST", paths::TERMINAL_DENY, "deny terminal"),
    ("POST", paths::TERMINAL_ALLOW, "allow terminal"),
    ("POST", paths::ASSIGNMENTS, "assign release"),
    ("DELETE", paths::ASSIGNMENT, "unassign product"),
    ("POST", paths::KIT, "import kit"),
    ("PUT", paths::KIT_ARTIFACT, "import artifact of a kit"),
    ("POST", paths::ENROL, "enrol"),
];

/// Returns what an action is called; a command of a program, or a request that this version does not know, as it is.
pub(crate) fn done(action: &str) -> &str {
    let request = action.split_once(' ');
    let known = request.and_then(|(method, path)| WORDS.iter().find(|(m, p, _)| (*m, *p) == (method, path)));
    known.map_or(action, |(_, _, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_lines_say_what_was_done_and_not_the_route() {
        assert_eq!(done(&format!("POST {}", paths::TERMINAL_DENY)), "deny terminal");
        assert_eq!(done(&format!("DELETE {}", paths::TERMINAL)), "remove terminal");
        for other in ["head-office bootstrap", "POST /new", "x"] {
            assert_eq!(done(other), other);
        }
    }
}
