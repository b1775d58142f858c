//! What to do when transmission-daemon does not do what was asked.

/// The address is not valid.
pub(super) const ADDRESS: &str = "write it as http://127.0.0.1:9091/transmission/rpc";

/// The daemon cannot be reached.
pub(super) const UNREACHABLE: &str =
    "start it (`systemctl start transmission-daemon`), or correct the engine's address in the configuration";

/// The daemon does not answer in time.
pub(super) const SLOW: &str = "look at its load and its disk, and restart it if it hangs \
    (`systemctl restart transmission-daemon`)";

/// User or password are wrong.
pub(super) const CREDENTIALS: &str = "make rpc-username and rpc-password in its settings.json (edit it only while the \
    daemon is stopped) and the engine's settings agree";

/// The daemon refuses this address or host name, or had too many wrong passwords.
pub(super) const FORBIDDEN: &str =
    "check rpc-whitelist and rpc-host-whitelist in its settings.json; after many wrong passwords restart it";

/// The answer is not transmission-daemon's, or not a known version's.
pub(super) const VERSION: &str = "check that transmission-daemon 3.00 or newer runs there";
