//! Refusals: a stable code, a sentence about the case, and a remedy.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! whys {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $remedy:literal;)+) => {
        /// Every reason for a refusal. Stable: programs and people match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Why {
            $($(#[$doc])* $variant,)+
        }

        impl Why {
            /// All of them, for documentation and tests.
            pub const ALL: &[Why] = &[$(Why::$variant),+];

            /// The code as text, such as `plan-expired`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Why::$variant => $text,)+ }
            }

            /// The remedy: one sentence, the same in every case.
            pub const fn remedy(self) -> &'static str {
                match self { $(Why::$variant => $remedy,)+ }
            }
        }
    };
}

whys! {
    /// A key file that others can read, or not a regular file.
    KeyFileExposed = "key-file-exposed", "Restrict the key file to the program's user (chmod 600), and replace the key if others could read it.";
    /// Text that names no authority.
    AuthorityUnknown = "authority-unknown", "Give the fingerprint that `head-office authority` prints, or the path of authority.pem.";
    /// A key file that cannot be read.
    KeyFileUnreadable = "key-file-unreadable", "Check the path, the owner and the folder of the key file.";
    /// A file that exists and would be overwritten.
    KeyFileExists = "key-file-exists", "Choose another path; existing keys are never overwritten.";
    /// Text that is not a supported key.
    NotAKey = "not-a-key", "Create a key with `filial trust key` (ed25519, PKCS#8 in PEM).";
    /// Keys and a threshold that contradict each other.
    BadKeySet = "bad-key-set", "Give at least as many different keys as the threshold, and at least one.";
    /// The cryptographic library failed.
    Crypto = "crypto-failed", "Retry; if it persists, the machine's random source or cryptographic library is broken.";
    /// A file larger than its kind may be.
    TooLarge = "trust-file-too-large", "Check where the file came from; it was not read.";
    /// A folder or file of the trust store cannot be read or written.
    Storage = "trust-storage", "Check free space, owner and health of the disk that holds the trust store.";
    /// The stored state is damaged.
    StoreDamaged = "trust-store-damaged", "Move the trust store away and start again with a root file from a trusted source.";
    /// The root file for provisioning is missing.
    NoRootFile = "no-root-file", "Copy root.json from the folder made by `filial trust init` to that path.";
    /// No metadata has been accepted yet.
    NoMetadata = "no-metadata", "Connect the machine to its branch server or head office once, so that it can fetch metadata.";

    /// The envelope around a plan cannot be read.
    PlanForm = "plan-form", "Have head office issue the plan again; if it persists, update this program.";
    /// A plan signed by no known plan key.
    PlanUnknownKey = "plan-unknown-key", "Refresh the metadata to learn the current plan keys; if it persists, the plan does not come from head office.";
    /// An invalid signature by a known key.
    PlanBadSignature = "plan-bad-signature", "Fetch the plan again; if it persists, it was altered in transit.";
    /// Fewer signatures than the threshold.
    PlanThreshold = "plan-threshold", "Have the holders of the other plan keys sign it.";
    /// A plan for another branch.
    PlanWrongBranch = "plan-wrong-branch", "Fetch this branch's own plan; if it persists, the source serves another branch's plans.";
    /// An expired plan.
    PlanExpired = "plan-expired", "Fetch a new plan; without a link, import one with `filial kit`.";
    /// A plan from the future.
    PlanFromTheFuture = "plan-from-the-future", "Correct this machine's clock, or head office's.";
    /// A plan older than an accepted plan.
    PlanReplayed = "plan-replayed", "Fetch the newest plan; if it persists, the source replays old plans.";
    /// A plan with contradictory times.
    PlanContradiction = "plan-contradiction", "Have head office issue the plan again.";
    /// A plan that does not name this terminal for this product.
    PlanNotForMe = "plan-not-for-me", "No action needed: the plan does not assign it to this terminal.";
    /// The digests differ from the plan's.
    PlanOtherDigest = "plan-other-digest", "Fetch what the plan names; if it persists, the source substitutes it.";
    /// An older version without an allowed downgrade.
    PlanDowngrade = "plan-downgrade", "Assign the older release with --downgrade.";

    /// Metadata that cannot be read.
    MetadataForm = "metadata-form", "Fetch the metadata again; if it persists, it was altered or this program is too old.";
    /// Metadata without enough signatures by its role's keys.
    MetadataSignature = "metadata-signature", "Fetch the metadata again; if it persists, it was altered or signed with a key that does not hold the role.";
    /// Metadata older than seen before, or of another version than listed.
    MetadataRollback = "metadata-rollback", "Fetch the newest metadata; if it persists, the source replays old metadata.";
    /// Inconsistent parts of metadata.
    MetadataMixed = "metadata-mixed", "Fetch the metadata again; if it persists, the source mixes old and new parts.";
    /// Expired metadata.
    MetadataExpired = "metadata-expired", "Check this machine's clock and that head office refreshes its metadata; without a link, import fresh metadata with `filial kit`.";
    /// A file with another digest than the signed one.
    MetadataDigest = "metadata-digest", "Fetch the metadata again; if it persists, it was altered.";
    /// A file longer than signed or allowed.
    EndlessData = "endless-data", "Use another source: this one sends more than the file has.";
    /// A file that did not arrive in time.
    SlowRetrieval = "slow-retrieval", "Retry later or use another source: this one sends too slowly.";
    /// A file that the source does not have or refused.
    Unfetchable = "metadata-unfetchable", "Check the link and the mirror; previously accepted metadata stays in force.";
    /// More new roots than one update accepts.
    TooManyRoots = "too-many-roots", "Repeat the update: it continues where it stopped.";
    /// A role signs outside its delegated paths.
    OutOfPath = "out-of-path", "Sign each release with the keys of its product.";
    /// Not signed in the current metadata.
    NotSigned = "not-signed", "Have the release keys sign it; if they have, refresh the metadata.";
    /// The signed release differs from what is asked for.
    SubstitutedRelease = "substituted-release", "Do not install it: the plan names content that the release keys did not sign.";
    /// A key listed twice, or too few different keys for a role.
    VulnerableKey = "vulnerable-key", "Have the root holders list different keys.";

    /// A proposal based on superseded metadata.
    SignAgain = "sign-again", "Fetch the current metadata and sign again: another change came first.";
    /// A proposal with content that its role may not sign.
    ProposalContent = "proposal-content", "Create the proposal again with this version of filial.";
    /// Signatures for different statements.
    ProposalMismatch = "proposal-mismatch", "Have every holder sign the same proposal file.";
    /// A signature by a key that does not hold the role.
    ProposalUnknownKey = "proposal-unknown-key", "Sign with a key that the current root or delegation lists.";
    /// Too few signatures so far.
    ProposalThreshold = "proposal-threshold", "Have the other holders sign and post their signatures.";
    /// A role in force without signatures by its current keys.
    RoleUnsigned = "role-unsigned", "Sign the role again with its current keys, then publish.";

    /// A certificate or request that cannot be read.
    CertificateForm = "certificate-form", "Create a new key and request, or enrol again.";
    /// A certificate that does not lead to the fleet's authority.
    CertificateChain = "certificate-chain", "Enrol again with a join token of this fleet.";
    /// An expired certificate, or one not valid yet.
    CertificateExpired = "certificate-expired", "Check the clock; then renew the certificate or enrol again.";
    /// A certificate with other names than expected.
    CertificateName = "certificate-name", "Enrol under the right name: a certificate has exactly one DNS name.";
    /// A certificate for another purpose or place.
    CertificatePurpose = "certificate-purpose", "Use a certificate issued for this purpose.";
    /// Text that is not a join token.
    JoinTokenForm = "join-token-form", "Put the complete join token into the file, as `filial branch add` printed it, and nothing else.";
    /// A denied certificate.
    CertificateDenied = "certificate-denied", "Ask an operator; enrol again with a new key and a new join token.";
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Why {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// A refusal: its reason and one sentence about the case. Its text never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    why: Why,
    sentence: String,
}

/// Longest sentence in bytes: it may quote untrusted input.
const MAX_SENTENCE: usize = 1024;

impl Refusal {
    /// A refusal with its sentence, cut to 1024 bytes.
    pub fn new(why: Why, sentence: impl Into<String>) -> Self {
        let mut sentence = sentence.into();
        sentence.truncate(sentence.floor_char_boundary(MAX_SENTENCE));
        Self { why, sentence }
    }

    /// The reason.
    pub const fn why(&self) -> Why {
        self.why
    }

    /// The stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        self.why.as_str()
    }

    /// The sentence about the case.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// The remedy.
    pub const fn remedy(&self) -> &'static str {
        self.why.remedy()
    }
}

pub(crate) fn refuse<T>(why: Why, sentence: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(why, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_every_one_has_a_remedy() {
        let mut seen = std::collections::HashSet::new();
        for why in Why::ALL {
            assert!(seen.insert(why.as_str()), "{why} stands twice");
            assert!(why.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{why}");
            assert!(why.remedy().ends_with('.'), "{why}");
        }
    }

    #[test]
    fn hostile_text_does_not_grow_the_sentence() {
        assert!(Refusal::new(Why::PlanForm, "ж".repeat(100_000)).sentence().len() <= MAX_SENTENCE);
    }
}
