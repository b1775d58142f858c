//! Uploads to the real program: cut by FIN and RST at random bytes, killed, fought over, frozen, on a full disk.
#![expect(clippy::unwrap_used, reason = "tests")]

mod bursts;
mod cuts;
mod disk;
mod mixing;
mod progress;

use crate::support::program::Program;
use fleet_types::ReleaseState;
use rand::SeedableRng;
use rand::rngs::StdRng;
use uuid::Uuid;

/// The same cuts in every run; change it to search on.
const SEED: u64 = 20;

fn dice(test: u64) -> StdRng {
    StdRng::seed_from_u64(SEED * 1000 + test)
}

/// The archive was found in order, and is byte for byte what was sent. It stays in the store: without a tracker nothing
/// is published.
async fn arrived_whole(program: &Program, id: Uuid, bytes: &[u8]) {
    let is_past = |r: &wire::v1::releases::Release| {
        matches!(r.state, ReleaseState::Approved | ReleaseState::Publishing | ReleaseState::Rejected)
    };
    let release = program.wait_for_release("the archive to be judged", id, is_past).await;
    assert_ne!(release.state, ReleaseState::Rejected, "{release:?}");
    assert!(program.stored(id) == bytes, "what is stored is not what was sent");
}
