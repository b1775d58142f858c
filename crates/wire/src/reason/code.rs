//! The codes of reasons, each with the template of its sentence.

/// Longest code in bytes that a listener stores.
const MAX_LEN: usize = 64;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal $(, $template:literal)?;)+) => {
        /// Every reason that a program of this version gives. Stable: programs and people match on it.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ReasonCode {
            $($(#[$doc])* $variant,)+
            /// A code that this version does not know; a newer sender uses it.
            Other(OtherCode),
        }

        impl ReasonCode {
            /// All known codes, for documentation and tests.
            pub const ALL: &[ReasonCode] = &[$(ReasonCode::$variant),+];

            /// Returns the code as text, such as `data-full`.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)+ Self::Other(code) => &code.0 }
            }

            /// Returns the template of the code's sentence; none if its sentence is the parameter `cause`.
            pub(super) fn template(&self) -> Option<&'static str> {
                match self { $(Self::$variant => codes!(@template $($template)?),)+ Self::Other(_) => None }
            }

            fn known(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
    (@template $template:literal) => { Some($template) };
    (@template) => { None };
}

codes! {
    // The update: preparing.

    /// The manifest that the branch server sent has another digest than the plan names.
    ManifestRefused = "manifest-refused", "The branch server sent a manifest with digest {found}, but the plan names {planned}.";
    /// The release's manifest cannot be read.
    ManifestInvalid = "manifest-invalid";
    /// Manifest and plan contradict each other.
    ManifestMismatch = "manifest-mismatch";
    /// The release needs a newer terminal agent.
    AgentTooOld = "agent-too-old", "The release requires terminal agent {needed} or newer; this terminal runs {agent}. Update the agent first.";
    /// The planned payload is of another kind.
    NotASlotImage = "not-a-slot-image", "Payload {payload} is a {kind}, not a slot image.";
    /// The planned payload is of another kind.
    NotAPackage = "not-a-package", "Payload {payload} is a {kind}, not a package.";
    /// The payload is for other hardware models.
    Incompatible = "incompatible", "Payload {payload} does not support model {model}.";
    /// The release can only be installed over certain versions.
    Requires = "requires", "The release requires {requires}, but this terminal runs {running}. Assign an intermediate release first.";
    /// The slot is smaller than the image.
    SlotTooSmall = "slot-too-small", "Slot {slot} holds {slot_bytes:size}, but the image needs {image_bytes:size}. Assign a smaller release.";
    /// The data partition has too little free space.
    DataFull = "data-full", "The data partition has {free:size} free, but {needed:size} are needed. Free up space on it.";
    /// The data partition cannot be examined.
    DataUnavailable = "data-unavailable";
    /// A file on the data partition cannot be written.
    DataUnwritable = "data-unwritable";
    /// The artifact's index is invalid or not the plan's.
    IndexRefused = "index-refused";
    /// The artifact's torrent file is invalid or not the plan's.
    TorrentRefused = "torrent-refused";
    /// The branch server does not hold it yet.
    NotHeldYet = "not-held-yet";
    /// The branch server does not accept this terminal's certificate.
    NotEnrolled = "not-enrolled";
    /// The branch server does not answer.
    BranchUnreachable = "branch-unreachable";
    /// The branch server refuses a request.
    BranchRefuses = "branch-refuses";
    /// A defect: a preparation ended with an unexpected result.
    NotPrepared = "not-prepared";

    // The update: fetching and writing.

    /// The BitTorrent daemon does not answer.
    EngineUnavailable = "engine-unavailable";
    /// The BitTorrent daemon answers with something unexpected.
    EngineConfused = "engine-confused", "The BitTorrent daemon answered with torrent {hash}, which was not asked for.";
    /// The BitTorrent daemon reports an error of the transfer.
    TransferTrouble = "transfer-trouble";
    /// The complete artifact does not match its digests.
    ArtifactDoesNotCheck = "artifact-does-not-check", "The complete artifact still fails verification after {verifies} attempts.";
    /// The artifact's file cannot be read.
    ArtifactUnreadable = "artifact-unreadable";
    /// Writing segments to the slot failed.
    WritingBroke = "writing-broke";
    /// The agent's journal cannot be written.
    JournalUnwritable = "journal-unwritable";
    /// The slot, read back, does not match the signed digest.
    ReadBackMismatch = "read-back-mismatch";
    /// Reading the slot back failed.
    ReadBackBroke = "read-back-broke";
    /// A newer plan replaces this update, or (with a `cause`) drops it.
    Superseded = "superseded", "A newer plan replaces this update with {product} {version}.";
    /// The slot to be written is the running one.
    SlotChanged = "slot-changed", "This terminal now runs slot {slot}, the target of this update. The update starts over with the other slot.";

    // The update: activating and trying.

    /// The slot on trial cannot be determined, because the running slot is unknown.
    RunningSlotUnknown = "running-slot-unknown";
    /// The version that runs cannot be determined.
    RunningVersionUnknown = "running-version-unknown";
    /// The kernel's boot id cannot be read.
    BootIdUnknown = "boot-id-unknown";
    /// The list of failed units cannot be read.
    FailedUnitsUnknown = "failed-units-unknown";
    /// The requested restart is pending.
    Restarting = "restarting", "Waiting for the requested restart.";
    /// The machine never restarted.
    RestartRefused = "restart-refused", "The machine did not restart after {restarts} requests. Restart it by hand.";
    /// The bootloader started the old slot instead of the trial.
    TrialIgnored = "trial-ignored", "The bootloader started the old slot instead of the trial. Check the bootloader's configuration.";
    /// The machine restarted repeatedly before the slot could be tried.
    ActivationInterrupted = "activation-interrupted", "The machine restarted {restarts} times before the slot could be tried.";
    /// Another process changed the boot state.
    BootStateChanged = "boot-state-changed";
    /// The boot state cannot be read.
    BootStateUnknown = "boot-state-unknown";
    /// The boot block is invalid; it can be repaired.
    BootStateInvalid = "boot-state-invalid";
    /// The boot block cannot be read.
    BootStateUnreadable = "boot-state-unreadable";
    /// The boot block cannot be written.
    BootStateUnwritable = "boot-state-unwritable";
    /// The bootloader went back to the old slot.
    FellBack = "fell-back";
    /// A health check failed.
    Unhealthy = "unhealthy";
    /// A health check has not passed yet.
    NotHealthyYet = "not-healthy-yet";
    /// The health checks have not run.
    HealthUnknown = "health-unknown";
    /// The release failed on this terminal before.
    FailedBefore = "failed-before", "{product} {version} failed on this terminal before: {earlier}";

    // The root helper.

    /// The root helper does not answer.
    HelperUnreachable = "helper-unreachable";
    /// The root helper cannot read or write its state folder.
    HelperStorage = "helper-storage";
    /// The caller's user may not use the root helper.
    ForeignUser = "foreign-user", "User {user} may not use the root helper; only user {agent} may. Check helper.agent_user.";
    /// A request to the root helper did not arrive in time.
    RequestTooSlow = "request-too-slow", "The request did not arrive within {limit:time}.";
    /// A request to the root helper exceeds its limits.
    RequestTooLarge = "request-too-large";
    /// The root helper cannot read the request.
    RequestMalformed = "request-malformed", "The root helper cannot read the request: {error}. Update agent and helper together.";
    /// The slot's device cannot be opened.
    SlotUnavailable = "slot-unavailable";
    /// The slot cannot be read.
    SlotUnreadable = "slot-unreadable";
    /// The slot cannot be written.
    SlotUnwritable = "slot-unwritable";
    /// Slots are not written while the boot state is not settled.
    BootNotSettled = "boot-not-settled", "Slot {slot} runs, but the boot state is {state}. Settle the boot state before writing a slot.";
    /// A restart that would change nothing is refused.
    RestartWithoutCause = "restart-without-cause", "Slot {slot} runs and would boot again, so a restart changes nothing. Activate a slot first.";
    /// The restart command failed.
    RestartFailed = "restart-failed";
    /// The kernel command line names no root device.
    CmdlineNoRoot = "cmdline-no-root";
    /// The kernel command line names a root device that is not one of the slots.
    CmdlineUnknownRoot = "cmdline-unknown-root";
    /// Both slots are configured with the same root device.
    CmdlineSameRoots = "cmdline-same-roots";

    // Packages.

    /// The package's files are invalid or do not match the signed digest.
    PackageRefused = "package-refused";
    /// A command still runs in the package.
    PackageInUse = "package-in-use", "A command still runs in the package. It is removed once the command has ended.";
    /// Unpacking the package failed.
    UnpackingBroke = "unpacking-broke";

    // Plans and metadata that a terminal or branch server refuses.

    /// A folder or file of the trust store cannot be read or written.
    TrustStorage = "trust-storage";
    /// The trust store is damaged.
    TrustStoreDamaged = "trust-store-damaged";
    /// A trust file exceeds the limit.
    TrustFileTooLarge = "trust-file-too-large";
    /// The provisioned root file is missing.
    NoRootFile = "no-root-file";
    /// No signed metadata was accepted yet.
    NoMetadata = "no-metadata";
    /// The envelope around the plan cannot be read.
    PlanForm = "plan-form";
    /// No known plan key signed the plan.
    PlanUnknownKey = "plan-unknown-key";
    /// A signature on the plan is invalid.
    PlanBadSignature = "plan-bad-signature";
    /// The plan has fewer signatures than the threshold.
    PlanThreshold = "plan-threshold";
    /// The plan is for another branch.
    PlanWrongBranch = "plan-wrong-branch";
    /// The plan expired.
    PlanExpired = "plan-expired";
    /// The plan is dated in the future.
    PlanFromTheFuture = "plan-from-the-future";
    /// The plan is older than one accepted before.
    PlanReplayed = "plan-replayed";
    /// The plan's dates contradict each other.
    PlanContradiction = "plan-contradiction";
    /// The plan does not name this terminal for this product.
    PlanNotForMe = "plan-not-for-me";
    /// The digests differ from the plan's.
    PlanOtherDigest = "plan-other-digest";
    /// The plan lowers the version without an explicit downgrade.
    PlanDowngrade = "plan-downgrade";
    /// The plan exceeds a limit or contradicts itself.
    PlanUnsound = "plan-unsound";
    /// The metadata cannot be read.
    MetadataForm = "metadata-form";
    /// The metadata lacks valid signatures of the keys that hold its role.
    MetadataSignature = "metadata-signature";
    /// The metadata is older than metadata accepted before.
    MetadataRollback = "metadata-rollback";
    /// Parts of the metadata do not belong together.
    MetadataMixed = "metadata-mixed";
    /// The metadata expired.
    MetadataExpired = "metadata-expired";
    /// A metadata file has another digest than was signed.
    MetadataDigest = "metadata-digest";
    /// A metadata file cannot be fetched.
    MetadataUnfetchable = "metadata-unfetchable";
    /// A file exceeds its signed length.
    EndlessData = "endless-data";
    /// A file did not arrive in time.
    SlowRetrieval = "slow-retrieval";
    /// More new roots than one run follows.
    TooManyRoots = "too-many-roots";
    /// A role signed a release outside its delegation.
    OutOfPath = "out-of-path";
    /// No release key signed it.
    NotSigned = "not-signed";
    /// The signed release differs from the plan's.
    SubstitutedRelease = "substituted-release";
    /// A key is listed twice or below the required strength.
    VulnerableKey = "vulnerable-key";
    /// The certificate expired or is not valid yet.
    CertificateExpired = "certificate-expired";
    /// The certificate was denied.
    CertificateDenied = "certificate-denied";

    // An artifact at its branch server.

    /// The store has no room for it.
    StoreFull = "store-full", "The store has {free:size} free and this artifact needs {needed:size}. Enlarge its disk or `store.budget_bytes`, or wait until the retention of older artifacts ends.";
    /// The free space of the store cannot be read.
    StoreUnknown = "store-unknown", "The free space of the store cannot be read. Check that the folder `store.folder` exists and is readable.";
    /// The limit of concurrent fetches is reached.
    WaitingTurn = "waiting-turn", "Waits its turn: {others} {others:other artifact of the plan is|other artifacts of the plan are} being fetched, as many as `sync.fetch_at_once` allows.";
    /// The BitTorrent client does not answer.
    EngineUnreachable = "engine-unreachable", "The BitTorrent client does not answer. Check that it is running and accepts the configured password.";
    /// The last attempt failed and the next one waits.
    Backoff = "backoff", "The last attempt failed; the next one is at {until}.";
    /// The BitTorrent client or a tracker reports an error.
    EngineTrouble = "engine-trouble", "The BitTorrent client reports: {says}";
    /// Part of it was damaged on the disk.
    DamagedOnDisk = "damaged-on-disk", "Part of it was damaged on the disk and is being fetched again. Check the health of the disk.";
    /// Its complete file did not match the plan; it is being fetched again.
    NotAsPlanned = "not-as-planned", "Its complete file did not match the plan ({times} ×); it is being fetched again.";
    /// Its complete file does not match the plan; it is being verified.
    MismatchVerified = "mismatch-verified", "The complete file hashes to {found}, the plan names {planned}. It is being verified piece by piece.";
    /// Its complete file does not match the plan, also after verification.
    MismatchDropped = "mismatch-dropped", "The complete file hashes to {found}, the plan names {planned}, also after verification. It was dropped and will be fetched again in {backoff:time}. If this repeats, publish the release again.";
    /// An operation failed; the sentence is the error with its causes.
    Failed = "failed";

    // A machine.

    /// Report numbers of one machine came twice with different content.
    DuplicateIdentity = "duplicate-identity", "{machine} used report numbers twice ({times} ×, last {last}): its data was restored from a copy, or two machines run from copies of one disk.";
    /// More machines than are shown used report numbers twice.
    DuplicateIdentities = "duplicate-identities", "{count} more machines used report numbers twice.";

    /// Another key asks in the name of a machine, and an operator decides.
    KeyAsked = "key-asked", "{machine} asks to be known by another key, {key}: its disk was replaced or erased, or another machine asks in its name.";
    /// A branch's audit log was cut back or rewritten.
    BranchAuditCut = "branch-audit-cut", "The audit log of branch {branch} does not continue what it reported before: it had reached entry {kept}, then it ended at entry {found} (noticed {at}).";

    // A release at head office.

    /// Some rules failed.
    RulesFailed = "rules-failed", "Rules that failed: {rules}.";
    /// Some rules could not be evaluated.
    RulesUnknown = "rules-unknown", "Rules that could not be evaluated: {rules}.";
    /// Some warnings must be accepted.
    WarningsOpen = "warnings-open", "Warnings to be accepted: {rules}.";
    /// A freeze is in force; the sentence is its remedy.
    Frozen = "frozen";
    /// Release keys must sign it.
    SignaturesMissing = "signatures-missing", "{missing} of {threshold} signatures by release keys of {product} are missing: sign the archive with `filial release sign`, and post the file with `filial release post-signatures`.";
    /// Signatures that were posted cannot be used any more.
    SignaturesOutdated = "signatures-outdated";
    /// The release keys signed other content as this version.
    SignedOtherwise = "signed-otherwise", "The release keys signed different content for this version, and a version never changes: withdraw this release and upload it under a new version.";
    /// The upload was idle for too long.
    UploadExpired = "upload-expired", "The upload expired: it was idle for too long. Upload the archive again.";
    /// An operator cancelled the upload.
    UploadCancelled = "upload-cancelled", "The upload was cancelled by {operator}. Upload the archive again if it is needed after all.";
    /// An operator withdrew it, for this reason.
    Withdrawn = "withdrawn";
    /// Validating it failed for good.
    ValidationFailed = "validation-failed";
    /// An attempt to validate it failed and will be repeated.
    ValidationRetried = "validation-retried";
    /// Publishing it failed for good.
    PublishingFailed = "publishing-failed";
    /// An attempt to publish it failed and will be repeated.
    PublishingRetried = "publishing-retried";
    /// The store lost the file of its artifact.
    StoreFileMissing = "store-file-missing", "The store lost a file: {file} is missing. Restore it from a backup and restart head office, or withdraw the release and upload its archive again.";
    /// The file of its artifact has another length than it had.
    StoreFileCut = "store-file-cut", "The store lost a file: {file} has {found} bytes instead of {length}. Restore it from a backup and restart head office, or withdraw the release and upload its archive again.";
    /// The file of its artifact cannot be read.
    StoreFileUnreadable = "store-file-unreadable", "The store lost a file: {file} cannot be read ({error}). Restore it from a backup and restart head office, or withdraw the release and upload its archive again.";

    // Alerts.

    /// A role of the signed metadata expires soon.
    MetadataExpires = "metadata-expires", "Role {role} expires {at}.";
    /// The signed metadata could not be brought up to date.
    MetadataStuck = "metadata-stuck";
    /// A branch's newest plan cannot be read from the database.
    PlanUnreadable = "plan-unreadable", "Head office cannot read the branch's newest plan: {error}. Update head office or restore its database.";

    /// A sentence without a code, of an older sender or stored by an earlier version.
    Unclassified = "unclassified";
}

/// A code that this version does not know; [`ReasonCode::from`] makes it, so that it never equals a known one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OtherCode(Box<str>);

impl ReasonCode {
    /// Whether it is 1 to 64 of a-z, 0-9 and '-', as every code is that a listener accepts.
    pub fn is_valid(&self) -> bool {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let text = self.as_str();
        !text.is_empty() && text.len() <= MAX_LEN && text.bytes().all(inner)
    }

    /// Returns the code made valid: other characters become '-', and it is cut to 64 bytes.
    pub fn cleaned(&self) -> Self {
        if self.is_valid() {
            return self.clone();
        }
        let inner = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        let text: String = self.as_str().chars().take(MAX_LEN).map(inner).collect();
        Self::from(if text.is_empty() { "-" } else { text.as_str() })
    }
}

impl From<&str> for ReasonCode {
    fn from(text: &str) -> Self {
        Self::known(text).unwrap_or_else(|| Self::Other(OtherCode(text.into())))
    }
}
