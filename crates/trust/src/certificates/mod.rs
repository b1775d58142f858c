//! Machine identities: X.509 certificates of the fleet's authority, and TLS that requires them.
//!
//! Head office holds the authority. Each branch server has an intermediate (three years, no further authority below it) that
//! issues its terminals' certificates (90 days) and its own. The identity is stated by exactly one DNS name:
//!
//! | machine | DNS name | may be |
//! | --- | --- | --- |
//! | head office | `SUFFIX` | server |
//! | branch server | `BRANCH.SUFFIX` | server and client |
//! | terminal | `TERMINAL.BRANCH.SUFFIX` | client |
//!
//! Name constraints would not bind (webpki rejects some, and DNS ones do not bind a leaf without a name), so [`check_chain`]
//! compares the leaf's branch with the branch that stands in the intermediate.

mod check;
mod files;
mod identity;
mod issue;
mod join;
mod time;
mod tls;

pub use check::{Checked, DenyList, Purpose, certificate_signer, check_chain, check_former, fingerprint, validity};
pub use files::{
    AUTHORITY_FILE, certificate_from_pem, certificate_to_pem, read_anchor, read_public, request_from_pem,
    request_to_pem,
};
pub use identity::{Identity, Suffix};
pub use issue::{
    Authority, BRANCH_LIFETIME, Chain, LEAF_LIFETIME, MAX_CERTIFICATE, ROOT_LIFETIME, TlsKey, request_key,
    request_signer,
};
pub use join::JoinToken;
pub use time::{Age, FleetTime, Times};
pub use tls::{Anchor, Clients, Denied, Peer, client_config, none_denied, people_config, server_config};
