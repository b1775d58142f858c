//! Why reports of a branch are refused.

use fleet_types::{BranchName, TerminalName};
use service_kit::database::DatabaseError;
use wire::v1::numbering::Refused;
use wire::v1::shape::ShapeError;

/// Why reports are refused. Nothing of the batch is stored then.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The branch is unknown.
    #[error("there is no branch {0}")]
    UnknownBranch(BranchName),
    /// The batch or one of its fields is invalid.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Earlier reports are missing.
    #[error("report {first} arrived, but report {next} is the next")]
    OutOfOrder {
        /// The first number of the batch.
        first: u64,
        /// The number that must come next.
        next: u64,
    },
    /// A number came again with other content.
    #[error(
        "report {seq} was already received with other content: the machine was restored from a copy, or two machines share its identity"
    )]
    NumberReused {
        /// The number.
        seq: u64,
    },
    /// New numbers came under an earlier numbering.
    #[error(
        "report {seq} continues a numbering after a newer one began: the machine was restored from a copy, or two machines share its identity"
    )]
    Superseded {
        /// The number.
        seq: u64,
    },
    /// Reports that an operator carried are of a numbering that ended, or differ from those that came.
    #[error("report {seq} and those after it were numbered again since they were carried away")]
    CarriedLate {
        /// The number.
        seq: u64,
    },
    /// An operator carried what only the branch's key or an admin may say.
    #[error("report {seq} is of the kind `{kind}`, which only the branch server itself or an admin may bring")]
    CarriedProof {
        /// The number.
        seq: u64,
        /// Its kind.
        kind: String,
    },
    /// An operator carried reports under a numbering that the branch server did not begin.
    #[error("the reports begin a new numbering, which only the branch server itself or an admin may do")]
    CarriedNumbering,
    /// The branch has the most terminals that a branch may have.
    #[error("branch {branch} has {count} terminals, the most that a branch may have; {terminal} would be one more")]
    TooManyTerminals {
        /// The branch.
        branch: BranchName,
        /// How many it has.
        count: u64,
        /// The terminal that would be one more.
        terminal: TerminalName,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<Refused> for ReportError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Reused { seq } => Self::NumberReused { seq },
            Refused::Superseded { seq } => Self::Superseded { seq },
            Refused::Gap { first, next } => Self::OutOfOrder { first, next },
        }
    }
}
