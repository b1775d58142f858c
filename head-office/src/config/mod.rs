//! Configuration in three stages: fragments ([`service_kit::config`]) → [`Inputs`] (what was said) →
//! [`Settings`] (what holds). Past `settings.rs` nothing sees an `Option` that means "unset".

mod inputs;
mod settings;

pub use access::settings::AccessSettings;
pub use inputs::Inputs;
pub use settings::{
    EncodeSettings, PlanSettings, PublicCertificate, Settings, Signing, StoreSettings, TlsSettings, TrackerSettings,
    TrustSettings, UploadSettings,
};

/// The name under which the environment is read: `FILIAL_HEAD_OFFICE__SECTION__KEY`.
pub const PROGRAM: &str = "head-office";

/// A complete example, for `--help` and the package.
pub const EXAMPLE: &str = include_str!("example.toml");
