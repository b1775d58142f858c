//! Files made to do harm, each with the code under which its reader must refuse it.
//!
//! Everything is made in code, so that what is hostile about a file can be read. The suites use one corpus: here each
//! reader by itself, `fuzz` with mutations and under a memory bound, head office and `filial` end to end.
//!
//! For tests only: nothing here may be linked into a program that ships.

mod archives;
mod artifacts;
mod boot;
mod case;
mod envelopes;
mod many;
mod reader;
mod tar;
mod torrents;

pub use archives::archives;
pub use artifacts::{decode_frame, good_frame, good_index};
pub use boot::good_block;
pub use case::{Hostile, Reader};
pub use envelopes::{good_envelope, good_plan};
pub use many::ManyMembers;
pub use tar::{IMAGE, MODEL, Tar, good_archive, good_manifest, squashfs};
pub use torrents::{ARTIFACT_LENGTH, ARTIFACT_NAME, good_torrent};

/// All of them. One more is too long to be in memory: [`ManyMembers`].
pub fn corpus() -> Vec<Hostile> {
    [archives(), artifacts::hostile(), torrents::hostile(), envelopes::hostile(), boot::hostile()].concat()
}
