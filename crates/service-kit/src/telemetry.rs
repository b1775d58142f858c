//! Logs: one subscriber per process, as text for people or JSON for collectors, on standard error.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// What the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// Its form.
    pub format: Format,
    /// Directives such as `info,head_office=debug`.
    pub filter: String,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { format: Format::Text, filter: "info".to_owned() }
    }
}

/// Optional telemetry keys of a configuration, for a program's `Inputs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryInputs {
    /// `text` or `json`.
    pub format: Option<Format>,
    /// Directives such as `info,head_office=debug`.
    pub filter: Option<String>,
}

impl From<TelemetryInputs> for TelemetrySettings {
    fn from(inputs: TelemetryInputs) -> Self {
        let default = Self::default();
        Self { format: inputs.format.unwrap_or(default.format), filter: inputs.filter.unwrap_or(default.filter) }
    }
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter's text is wrong.
    #[error("telemetry.filter = {filter:?} is not a list of directives such as info,head_office=debug")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// A subscriber is set already.
    #[error("logging was started twice")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// What other crates tell below `info` shows what passes through them: the parameters of statements, headers and bodies.
/// Secrets are among those, so no filter brings it out.
const INDISCREET: [&str; 7] = ["tokio_postgres", "postgres", "actix", "h2", "hyper", "reqwest", "mio"];

fn is_discreet(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !INDISCREET.iter().any(|name| metadata.target().starts_with(name))
}

/// Starts logging for this process.
///
/// # Errors
/// The filter cannot be read, or logging was started before.
pub fn init(settings: &TelemetrySettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&settings.filter)
        .map_err(|source| TelemetryError::Filter { filter: settings.filter.clone(), source })?;
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(is_discreet));
    // Colours are for people at a terminal, not for files and journals.
    let colours = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    match settings.format {
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        Format::Text => registry.with(layer).try_init(),
    }
    .map_err(TelemetryError::Twice)
}
