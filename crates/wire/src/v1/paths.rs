//! The URL paths of all listeners, each once. A pattern such as [`RELEASE`] is what a route table and the OpenAPI document
//! name; the function of the same name fills it for a client.

use std::fmt::Display;

use fleet_types::{BranchName, Digest, ProductName, TerminalName, TerminalRef};

/// Fills the places of a pattern in their order.
fn fill(pattern: &str, values: &[&dyn Display]) -> String {
    let (mut out, mut rest, mut values) = (String::new(), pattern, values.iter());
    while let Some((before, after)) = rest.split_once('{') {
        let (_, after) = after.split_once('}').unwrap_or_default();
        out.push_str(before);
        if let Some(value) = values.next() {
            out.push_str(&value.to_string());
        }
        rest = after;
    }
    out + rest
}

macro_rules! paths {
    ($($(#[$doc:meta])* $pattern:ident = $text:literal $(, $function:ident($($value:ident: $type:ty),+))?;)+) => {
        $(
            $(#[$doc])*
            pub const $pattern: &str = $text;
            $(
                #[doc = concat!("Returns [`", stringify!($pattern), "`] with its places filled.")]
                pub fn $function($($value: $type),+) -> String {
                    fill($pattern, &[$(&$value),+])
                }
            )?
        )+

        /// All patterns, for documentation and tests.
        pub const ALL: &[&str] = &[$($pattern),+];
    };
}

paths! {
    /// Whether the process answers (all listeners).
    HEALTHZ = "/healthz";
    /// Whether the program can do its work (operators, both tiers).
    READYZ = "/readyz";
    /// Metrics for Prometheus (operators, both tiers).
    METRICS = "/metrics";
    /// The listener's OpenAPI document.
    OPENAPI = "/openapi.json";
    /// The API browser's files.
    SWAGGER_UI = "/swagger-ui/{file:.*}";

    /// The caller's session: log in, show, log out (operators of head office).
    SESSION = "/v1/session";
    /// The caller's sessions (operators of head office).
    SESSIONS = "/v1/sessions";
    /// One of the caller's sessions (operators of head office).
    SESSION_OF = "/v1/sessions/{id}", session_of(id: &str);
    /// The caller's password (operators of head office).
    PASSWORD = "/v1/password";
    /// API tokens (operators of head office).
    TOKENS = "/v1/tokens";
    /// An API token (operators of head office).
    TOKEN = "/v1/tokens/{id}", token(id: &str);
    /// Operators (admins of head office).
    OPERATORS = "/v1/operators";
    /// An operator (admins of head office).
    OPERATOR = "/v1/operators/{name}", operator(name: &str);
    /// An operator's password (admins of head office).
    OPERATOR_PASSWORD = "/v1/operators/{name}/password", operator_password(name: &str);
    /// The audit log (admins of head office).
    AUDIT = "/v1/audit";
    /// The audit log's head and what its anchor confirms (admins of head office).
    AUDIT_HEAD = "/v1/audit/head";

    /// tus 1.0 uploads (operators of head office).
    UPLOADS = "/v1/uploads";
    /// A tus 1.0 upload (operators of head office).
    UPLOAD = "/v1/uploads/{id}", upload(id: &str);
    /// Releases (operators of head office).
    RELEASES = "/v1/releases";
    /// A release (operators of head office).
    RELEASE = "/v1/releases/{id}", release(id: &str);
    /// Approve a release (operators of head office).
    RELEASE_APPROVE = "/v1/releases/{id}/approve", release_approve(id: &str);
    /// A release's signatures, posted one file after the other (operators of head office).
    RELEASE_SIGNATURES = "/v1/releases/{id}/signatures", release_signatures(id: &str);
    /// Withdraw a release (operators of head office).
    RELEASE_WITHDRAW = "/v1/releases/{id}/withdraw", release_withdraw(id: &str);

    /// Branches (operators of head office).
    BRANCHES = "/v1/branches";
    /// A branch (operators of head office).
    BRANCH = "/v1/branches/{branch}", branch(branch: &BranchName);
    /// Everything but the artifacts' bytes that a branch without a link needs: a [`super::kit::Kit`] (operators of head office).
    BRANCH_KIT = "/v1/branches/{branch}/kit", branch_kit(branch: &BranchName);
    /// Reports that a kit brought back from a branch (operators of head office).
    BRANCH_REPORTS = "/v1/branches/{branch}/reports", branch_reports(branch: &BranchName);
    /// Deny a branch server's certificate (operators of head office).
    BRANCH_DENY = "/v1/branches/{branch}/deny", branch_deny(branch: &BranchName);
    /// Lift the denial of a branch server's certificate (operators of head office).
    BRANCH_ALLOW = "/v1/branches/{branch}/allow", branch_allow(branch: &BranchName);

    /// Terminals (operators, both tiers).
    TERMINALS = "/v1/terminals";
    /// A terminal (operators of head office).
    TERMINAL = "/v1/terminals/{branch}/{name}", terminal_of(branch: &BranchName, name: &TerminalName);
    /// Accept a terminal's new key (operators of head office).
    TERMINAL_KEY = "/v1/terminals/{branch}/{name}/key", terminal_key_of(branch: &BranchName, name: &TerminalName);
    /// The key with which a terminal is registered (operators of a branch server).
    TERMINAL_IDENTITY = "/v1/terminals/{name}/identity", terminal_identity(name: &TerminalName);
    /// Deny a terminal's identity (operators of a branch server).
    TERMINAL_DENY = "/v1/terminals/{name}/deny", terminal_deny(name: &TerminalName);
    /// Lift the denial of a terminal's identity, or register another key (operators of a branch server).
    TERMINAL_ALLOW = "/v1/terminals/{name}/allow", terminal_allow(name: &TerminalName);

    /// Assignments (operators of head office).
    ASSIGNMENTS = "/v1/assignments";
    /// The release of one product that a branch is to run (operators of head office).
    ASSIGNMENT = "/v1/assignments/{branch}/{product}", assignment(branch: &BranchName, product: &ProductName);
    /// Invalid data received anywhere in the fleet, newest first (operators of head office).
    INCIDENTS = "/v1/incidents";
    /// An overview of everything (operators, both tiers).
    STATUS = "/v1/status";

    /// Import a kit (operators of a branch server).
    KIT = "/v1/kit";
    /// The queued reports, for a kit (operators of a branch server).
    KIT_REPORTS = "/v1/kit/reports";
    /// The file of an artifact that a kit carries (operators of a branch server).
    KIT_ARTIFACT = "/v1/kit/artifacts/{sha256}", kit_artifact(artifact: &Digest);

    /// Exchange a join token for an identity (machines, both tiers).
    ENROL = "/v1/enrol";
    /// What this caller should hold and run: a [`super::sync::Sync`] (machines, both tiers).
    SYNC = "/v1/sync";
    /// Server-sent events: each only says "look again" (machines, both tiers).
    EVENTS = "/v1/events";
    /// Reports upwards (machines, both tiers).
    REPORTS = "/v1/reports";
    /// A file of signed metadata by its name, such as `timestamp.json` (both tiers).
    METADATA = "/v1/metadata/{name}", metadata(name: &str);
    /// A published artifact's file (operators of head office).
    ARTIFACT = "/v1/artifacts/{sha256}", artifact(artifact: &Digest);
    /// An artifact's index: its header and segment table.
    ARTIFACT_INDEX = "/v1/artifacts/{sha256}/index", artifact_index(artifact: &Digest);
    /// An artifact's torrent file: the WAN one from head office, the LAN one from a branch server.
    ARTIFACT_TORRENT = "/v1/artifacts/{sha256}/torrent", artifact_torrent(artifact: &Digest);
    /// A release's manifest (`release.toml`), byte for byte, by its digest.
    MANIFEST = "/v1/manifests/{sha256}", manifest(manifest: &Digest);
}

/// Returns [`TERMINAL`] for a terminal.
pub fn terminal(terminal: &TerminalRef) -> String {
    terminal_of(&terminal.branch, &terminal.terminal)
}

/// Returns [`TERMINAL_KEY`] for a terminal.
pub fn terminal_key(terminal: &TerminalRef) -> String {
    terminal_key_of(&terminal.branch, &terminal.terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_distinct_and_every_place_is_filled_in_order() {
        let distinct: std::collections::BTreeSet<_> = ALL.iter().collect();
        assert_eq!(distinct.len(), ALL.len());
        assert!(ALL.iter().all(|path| path.starts_with('/') && path.matches('{').count() == path.matches('}').count()));
        let (branch, product) = ("north".parse().unwrap(), "till".parse().unwrap());
        assert_eq!(assignment(&branch, &product), "/v1/assignments/north/till");
        assert_eq!(release_signatures("7"), "/v1/releases/7/signatures");
        assert_eq!(terminal_key(&"north/till-1".parse().unwrap()), "/v1/terminals/north/till-1/key");
        let digest = Digest::new([0xab; 32]);
        assert_eq!(artifact_index(&digest), format!("/v1/artifacts/{digest}/index"));
        assert_eq!(fill("/plain", &[]), "/plain");
    }
}
