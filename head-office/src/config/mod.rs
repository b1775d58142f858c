//! Configuration in three stages: fragments ([`service_kit::config`]) → [`Inputs`] (what was said) →
//! [`Settings`] (what holds). Past `settings.rs` nothing sees an `Option` that means "unset".

mod inputs;
mod settings;

pub use inputs::Inputs;
pub use settings::{EncodeSettings, PlanSettings, Settings, StoreSettings, TrackerSettings, UploadSettings};

/// A complete example, for `--help` and the package.
pub const EXAMPLE: &str = include_str!("example.toml");
