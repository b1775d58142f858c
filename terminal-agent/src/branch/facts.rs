//! What this terminal tells its branch about itself.

use fleet_types::Slot;
use service_kit::edge::chain;
use wire::v1::sync::TerminalFacts;

use crate::config::agent::Settings;
use crate::ports::Ports;

/// Collects what this terminal tells about itself.
///
/// # Errors
/// The length of a slot or of the data partition is not known; one sentence.
pub fn facts(ports: &Ports, settings: &Settings) -> Result<TerminalFacts, String> {
    let identity = &settings.identity;
    let length = |slot| ports.disks.length(slot).map_err(|e| chain(&e));
    let room = ports.host.room(&settings.paths.data_dir).map_err(|e| chain(&e))?;
    Ok(TerminalFacts {
        name: identity.name.clone(),
        model: identity.model.clone(),
        slot_bytes: length(Slot::A)?.min(length(Slot::B)?),
        data_bytes: room.total,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
