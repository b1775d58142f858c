//! The URL paths that programs share. A path with a variable part is a function.

use fleet_types::{BranchName, Digest, ProductName, TerminalName, TerminalRef};

/// tus 1.0 uploads (operators of head office).
pub const UPLOADS: &str = "/v1/uploads";
/// Releases (operators of head office).
pub const RELEASES: &str = "/v1/releases";
/// Branches (operators of head office).
pub const BRANCHES: &str = "/v1/branches";
/// Deny a branch server's certificate (operators of head office).
pub fn branch_deny(branch: &BranchName) -> String {
    format!("{BRANCHES}/{branch}/deny")
}

/// Let it count again (operators of head office).
pub fn branch_allow(branch: &BranchName) -> String {
    format!("{BRANCHES}/{branch}/allow")
}

/// Terminals (operators, both tiers).
pub const TERMINALS: &str = "/v1/terminals";
/// By which key a terminal is known (operators of a branch server).
pub fn terminal_identity(terminal: &TerminalName) -> String {
    format!("{TERMINALS}/{terminal}/identity")
}

/// `POST`: believe a terminal's new key.
pub fn terminal_key(terminal: &TerminalRef) -> String {
    format!("{TERMINALS}/{}/{}/key", terminal.branch, terminal.terminal)
}

/// Deny a terminal's identity (operators of a branch server).
pub fn terminal_deny(terminal: &TerminalName) -> String {
    format!("{TERMINALS}/{terminal}/deny")
}

/// Let it count again, or another key in its place (operators of a branch server).
pub fn terminal_allow(terminal: &TerminalName) -> String {
    format!("{TERMINALS}/{terminal}/allow")
}

/// Assignments (operators of head office).
pub const ASSIGNMENTS: &str = "/v1/assignments";
/// Bad data that arrived somewhere, newest first (operators of head office).
pub const INCIDENTS: &str = "/v1/incidents";
/// Signatures of a release, posted one file after the other (operators of head office).
pub fn release_signatures(release: &str) -> String {
    format!("{RELEASES}/{release}/signatures")
}

/// A file of signed metadata by its name, such as `timestamp.json` (machines, both tiers).
pub fn metadata(name: &str) -> String {
    format!("/v1/metadata/{name}")
}

/// Everything but the artifacts' bytes that a branch without a link needs: a [`super::kit::Kit`] (operators of head office).
pub fn branch_kit(branch: &BranchName) -> String {
    format!("{BRANCHES}/{branch}/kit")
}

/// Reports that a kit brought back from a branch (operators of head office).
pub fn branch_reports(branch: &BranchName) -> String {
    format!("{BRANCHES}/{branch}/reports")
}

/// A published artifact's file (operators of head office).
pub fn artifact(artifact: &Digest) -> String {
    format!("/v1/artifacts/{artifact}")
}

/// Take up a kit (operators of a branch server).
pub const KIT: &str = "/v1/kit";
/// The reports that wait, for a kit (operators of a branch server).
pub const KIT_REPORTS: &str = "/v1/kit/reports";

/// The file of an artifact that a kit carries (operators of a branch server).
pub fn kit_artifact(artifact: &Digest) -> String {
    format!("{KIT}/artifacts/{artifact}")
}

/// What a branch runs of one product (operators of head office).
pub fn assignment(branch: &BranchName, product: &ProductName) -> String {
    format!("{ASSIGNMENTS}/{branch}/{product}")
}

/// Log in, log out, who am I (operators of head office).
pub const SESSION: &str = "/v1/session";
/// One's own log-ins (operators of head office).
pub const SESSIONS: &str = "/v1/sessions";
/// One's own password (operators of head office).
pub const PASSWORD: &str = "/v1/password";
/// API tokens (operators of head office).
pub const TOKENS: &str = "/v1/tokens";
/// Operators (admins of head office).
pub const OPERATORS: &str = "/v1/operators";
/// Who changed what (admins of head office).
pub const AUDIT: &str = "/v1/audit";
/// Where the audit stands, and what its anchor says (admins of head office).
pub const AUDIT_HEAD: &str = "/v1/audit/head";

/// One picture of everything (operators, both tiers).
pub const STATUS: &str = "/v1/status";
/// Exchange a join token for an identity (machines, both tiers).
pub const ENROL: &str = "/v1/enrol";
/// What this caller should hold and run: a [`super::sync::Sync`] (machines, both tiers).
pub const SYNC: &str = "/v1/sync";
/// Server-sent events: each only says "look again" (machines, both tiers).
pub const EVENTS: &str = "/v1/events";
/// Reports upwards (machines, both tiers).
pub const REPORTS: &str = "/v1/reports";

/// An artifact's index: its header and segment table.
pub fn artifact_index(artifact: &Digest) -> String {
    format!("/v1/artifacts/{artifact}/index")
}

/// An artifact's torrent file: the WAN one from head office, the LAN one from a branch server.
pub fn artifact_torrent(artifact: &Digest) -> String {
    format!("/v1/artifacts/{artifact}/torrent")
}

/// A release's manifest (`release.toml`), byte for byte, by its digest.
pub fn manifest(manifest: &Digest) -> String {
    format!("/v1/manifests/{manifest}")
}
