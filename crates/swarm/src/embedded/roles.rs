//! How the engine of each machine takes part in its swarms.

use super::{Core, Policy, Shape};
use crate::{EngineRole, PieceSet};

/// Makes the core of a torrent of which `held` is verified.
pub(super) fn core(role: EngineRole, shape: Shape, held: &PieceSet) -> Core {
    let policy = match role {
        EngineRole::Branch => Policy::REVEAL,
        EngineRole::HeadOffice | EngineRole::Terminal => Policy::PLAIN,
    };
    Core::new(shape, policy, held, rand::random())
}
