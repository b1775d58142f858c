//! `filial release post-signatures`: posts signatures made elsewhere to head office.

use std::path::Path;

use wire::v1::paths;
use wire::v1::releases::Release;

use super::releases::{resolve, signatures};
use super::trust::files::read_proposal;
use crate::args::Global;
use crate::failure::Failure;
use crate::output::release::display_name;
use crate::output::{answer, plain};
use crate::server::{block_on, connect};

/// Checks that the file is a proposal, then posts it.
pub(super) fn post(global: &Global, which: &str, file: &Path) -> Result<(), Failure> {
    let proposal = read_proposal(file)?;
    let server = connect(global)?;
    let release: Release = block_on(async {
        let path = paths::release_signatures(&resolve(&server, which).await?.to_string());
        Ok(server.post(&path, &proposal).await?)
    })?;
    answer(global.json, &release, |r| {
        let signed = r.signatures.as_ref().map(|s| format!("\nSignatures: {}.", signatures(s))).unwrap_or_default();
        let reason = if r.reasons.is_empty() { String::new() } else { format!("\n{}", plain(&r.why())) };
        format!("{} is {}.{signed}{reason}", display_name(r), r.state)
    })
}
