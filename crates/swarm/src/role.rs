//! The machines on which engines run.

/// The machine on which an engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineRole {
    /// Head office: seeds every release to the branch servers.
    HeadOffice,
    /// A branch server: fetches over the WAN and serves its LAN.
    Branch,
    /// A terminal: fetches and serves within its branch, and installs while it fetches.
    Terminal,
}
