//! Why something was not believed: a stable code, one sentence, and what to do about it.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! whys {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $remedy:literal;)+) => {
        /// Every reason for which this library does not believe something. Stable: programs and people match on it.
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

            /// What to do about it: one sentence that does not vary from case to case.
            pub const fn remedy(self) -> &'static str {
                match self { $(Why::$variant => $remedy,)+ }
            }
        }
    };
}

whys! {
    /// A key file that others can read, or that is no plain file.
    KeyFileExposed = "key-file-exposed", "Give the key file to the program's user alone (chmod 600), and replace the key if others could read it.";
    /// A key file that cannot be read.
    KeyFileUnreadable = "key-file-unreadable", "Check the path, the owner and the folder of the key file.";
    /// A file that is there already and would be overwritten.
    KeyFileExists = "key-file-exists", "Choose another path; a key is never overwritten.";
    /// Text that is no key of the kind that is used here.
    NotAKey = "not-a-key", "Make a key with filial: ed25519, PKCS#8 in PEM.";
    /// Keys and a threshold that do not make sense together.
    BadKeySet = "bad-key-set", "Name as many different keys as the threshold asks for, and at least one.";
    /// The cryptographic library failed.
    Crypto = "crypto-failed", "Try again; if it stays, the machine's random source or library is broken.";
    /// A file that is larger than any of its kind.
    TooLarge = "trust-file-too-large", "Ask whoever sent it what it is; it was not read.";
    /// A folder or file of the trust store cannot be read or written.
    Storage = "trust-storage", "Check free space, owner and health of the disk that holds the trust store.";
    /// What is stored cannot be read any more.
    StoreDamaged = "trust-store-damaged", "Move the trust store away and start again with a root file that came on a way you trust.";
    /// The root file that a machine is provisioned with is not there.
    NoRootFile = "no-root-file", "Copy root.json of the folder that `filial trust init` made to that path.";
    /// Nothing was accepted yet that could be asked.
    NoMetadata = "no-metadata", "Let the machine reach its source of metadata once; head office must serve it.";

    /// The envelope around a plan cannot be read.
    PlanForm = "plan-form", "Have head office make the plan again; if it stays, update this program.";
    /// A plan that no known plan key signed.
    PlanUnknownKey = "plan-unknown-key", "Refresh the metadata, so that the present plan keys are known; if it stays, somebody else made this plan.";
    /// A signature by a known key that does not fit the plan.
    PlanBadSignature = "plan-bad-signature", "Fetch the plan again; if it stays, somebody altered it on its way.";
    /// Fewer signatures than the threshold.
    PlanThreshold = "plan-threshold", "Have the holders of the other plan keys sign it too.";
    /// A plan for another branch.
    PlanWrongBranch = "plan-wrong-branch", "Fetch this branch's own plan; if it stays, somebody hands out other branches' plans.";
    /// A plan whose time is over.
    PlanExpired = "plan-expired", "Fetch a new plan; without a link, bring one by the USB kit.";
    /// A plan from the future.
    PlanFromTheFuture = "plan-from-the-future", "Set this machine's clock, or head office's.";
    /// A plan older than one that was accepted.
    PlanReplayed = "plan-replayed", "Fetch the newest plan; if it stays, somebody replays old ones.";
    /// A plan that says things about time which cannot be.
    PlanContradiction = "plan-contradiction", "Have head office make the plan again.";
    /// A plan that does not name this terminal for this product.
    PlanNotForMe = "plan-not-for-me", "Nothing to do: this terminal is not asked to install it.";
    /// The digests differ from the plan's.
    PlanOtherDigest = "plan-other-digest", "Fetch what the plan names; if it stays, somebody substituted it.";
    /// A lower version without leave.
    PlanDowngrade = "plan-downgrade", "Order the older release with an explicit downgrade.";

    /// Metadata that cannot be read.
    MetadataForm = "metadata-form", "Fetch the metadata again; if it stays, somebody altered it, or this program is too old.";
    /// Metadata without enough signatures of the keys that hold its role.
    MetadataSignature = "metadata-signature", "Fetch the metadata again; if it stays, somebody altered it or signed with a key that holds no role.";
    /// Metadata older than what was seen, or of another version than the one that vouches for it says.
    MetadataRollback = "metadata-rollback", "Fetch the newest metadata; if it stays, somebody replays old ones.";
    /// Parts of the metadata that do not belong together.
    MetadataMixed = "metadata-mixed", "Fetch the metadata again; if it stays, somebody mixes old parts with new ones.";
    /// Metadata whose time is over.
    MetadataExpired = "metadata-expired", "Have head office refresh it, check this machine's clock, or bring fresh metadata by the USB kit.";
    /// A file whose digest is another one than was signed.
    MetadataDigest = "metadata-digest", "Fetch the metadata again; if it stays, somebody altered it.";
    /// A file with more bytes than was signed, or than any has.
    EndlessData = "endless-data", "Fetch it from somebody else: this source sends without end.";
    /// A file that did not arrive in time.
    SlowRetrieval = "slow-retrieval", "Try again later or from somebody else: this source sends too slowly.";
    /// A file that the source does not have or would not send.
    Unfetchable = "metadata-unfetchable", "Check the link and the mirror; what was accepted before stays in force.";
    /// More new roots than are walked in one go.
    TooManyRoots = "too-many-roots", "Run it again: it goes on where it stopped.";
    /// A role signs something that was not delegated to it.
    OutOfPath = "out-of-path", "Sign each release with the keys of its own product.";
    /// Nothing in the metadata by that name.
    NotSigned = "not-signed", "Have the release keys sign it; if they did, refresh the metadata.";
    /// The signed release differs from what is asked for.
    SubstitutedRelease = "substituted-release", "Do not install it: the plan names something else than the release keys signed.";
    /// A key that stands under two names, or for less than one role should.
    VulnerableKey = "vulnerable-key", "Have the root holders name different keys.";

    /// A proposal that was made against metadata which moved on.
    SignAgain = "sign-again", "Fetch the present metadata and sign again: another change came first.";
    /// A proposal that does something else than it says.
    ProposalContent = "proposal-content", "Make the proposal again with this version of filial.";
    /// Signatures for different statements.
    ProposalMismatch = "proposal-mismatch", "Have every holder sign the same statement file.";
    /// A signature by a key that does not hold the role.
    ProposalUnknownKey = "proposal-unknown-key", "Sign with a key that the present root or delegation names.";
    /// Signatures are still missing.
    ProposalThreshold = "proposal-threshold", "Have the other holders sign, and post their signatures.";
    /// A role in force that its present keys did not sign.
    RoleUnsigned = "role-unsigned", "Sign the role again with its present keys, then publish.";

    /// A certificate or request that cannot be read.
    CertificateForm = "certificate-form", "Make a new key and request.";
    /// A certificate that does not lead to the fleet's authority.
    CertificateChain = "certificate-chain", "Enrol again with a join token of this fleet.";
    /// A certificate whose time is over, or has not come.
    CertificateExpired = "certificate-expired", "Renew the certificate, or enrol again; check the clock.";
    /// A certificate whose names are not exactly what they must be.
    CertificateName = "certificate-name", "Enrol under the right name: a certificate carries exactly one DNS name.";
    /// A certificate for another purpose or place.
    CertificatePurpose = "certificate-purpose", "Use the certificate that was issued for this purpose.";
    /// Text that is no join token.
    JoinTokenForm = "join-token-form", "Put the whole join token into the file, as `filial branch add` printed it, and nothing else.";
    /// A certificate that was denied.
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

/// A refusal: why, and one sentence about this very case. Its text never carries a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    why: Why,
    sentence: String,
}

/// Longest sentence in bytes: it may quote what a stranger sent.
const MAX_SENTENCE: usize = 1024;

impl Refusal {
    /// A refusal with its sentence, which is cut to 1024 bytes.
    pub fn new(why: Why, sentence: impl Into<String>) -> Self {
        let mut sentence = sentence.into();
        sentence.truncate(sentence.floor_char_boundary(MAX_SENTENCE));
        Self { why, sentence }
    }

    /// Why.
    pub const fn why(&self) -> Why {
        self.why
    }

    /// The stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        self.why.as_str()
    }

    /// One sentence: what is wrong in this case.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// What to do about it.
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
    fn a_hostile_text_does_not_swell_the_sentence() {
        assert!(Refusal::new(Why::PlanForm, "ж".repeat(100_000)).sentence().len() <= MAX_SENTENCE);
    }
}
