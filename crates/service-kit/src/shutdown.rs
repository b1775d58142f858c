//! Stopping in order: one token that everything long-lived watches.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Says when to stop. Clones share the decision.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// One that only [`Shutdown::stop`] triggers.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that SIGTERM and SIGINT trigger. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
    pub fn on_signals() -> std::io::Result<Self> {
        let this = Self::new();
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let trigger = this.clone();
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            tracing::info!("asked to stop");
            trigger.stop();
        });
        Ok(this)
    }

    /// Stop everything that watches.
    pub fn stop(&self) {
        self.0.cancel();
    }

    /// Whether stopping was asked for.
    pub fn is_stopping(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until stopping is asked for.
    pub async fn stopped(&self) {
        self.0.cancelled().await;
    }

    /// The token, for code that wants to derive children from it.
    pub fn token(&self) -> &CancellationToken {
        &self.0
    }

    /// Waits `time` or until stopping is asked for; true if it may go on.
    pub async fn wait(&self, time: std::time::Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => !self.is_stopping(),
            () = self.stopped() => false,
        }
    }
}
