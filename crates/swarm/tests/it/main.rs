//! The engine, the access list and the firewall against the real daemons.
#![expect(clippy::disallowed_methods, reason = "tests start daemons and write plain files")]

#[cfg(test)]
mod embedded;
#[cfg(test)]
mod firewall;
#[cfg(test)]
mod rpc;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tracker;
#[cfg(test)]
mod transfer;
