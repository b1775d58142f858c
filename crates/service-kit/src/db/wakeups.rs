//! LISTEN/NOTIFY as a wake-up and nothing more: a task that is woken, or waited long enough, looks into the tables.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio_postgres::{AsyncMessage, NoTls};

use super::{DatabaseError, DatabaseSettings};
use crate::Shutdown;
use crate::retry::Backoff;

/// How often every waiter is woken without a notification: bounds what a lost one costs.
const TICK: Duration = Duration::from_secs(5);

/// Wakes those who wait for rows in `jobs` or `events`.
#[derive(Clone)]
pub struct Wakeups(Arc<watch::Sender<u64>>);

impl Wakeups {
    /// Listens on a dedicated connection, which it renews, until shutdown.
    ///
    /// # Errors
    /// The settings are wrong.
    pub fn listen(settings: &DatabaseSettings, shutdown: Shutdown) -> Result<Self, DatabaseError> {
        let config = settings.config()?;
        let this = Self(Arc::new(watch::Sender::new(0)));
        let (wakeups, ticking) = (this.clone(), shutdown.clone());
        tokio::spawn(async move {
            let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
            while !shutdown.is_stopping() {
                tokio::select! {
                    () = shutdown.stopped() => return,
                    result = wakeups.listen_once(&config, &mut backoff) => {
                        if let Err(error) = result {
                            tracing::debug!(%error, "the wake-up connection broke; polling until it is back");
                        }
                    }
                }
                // What was sent while the connection was down is found by looking once.
                wakeups.wake();
                shutdown.wait(backoff.next()).await;
            }
        });
        let ticker = this.clone();
        tokio::spawn(async move {
            while ticking.wait(TICK).await {
                ticker.wake();
            }
        });
        Ok(this)
    }

    /// Wakes every waiter now.
    pub fn wake(&self) {
        self.0.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Something to wait on: `changed()` returns after the next wake-up. Subscribe before looking.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    async fn listen_once(
        &self,
        config: &tokio_postgres::Config,
        backoff: &mut Backoff,
    ) -> Result<(), tokio_postgres::Error> {
        let (client, mut connection) = config.connect(NoTls).await?;
        let mut messages = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx));
        let subscribed = client.batch_execute("LISTEN filial");
        tokio::pin!(subscribed);
        let mut listening = false;
        loop {
            tokio::select! {
                result = &mut subscribed, if !listening => {
                    result?;
                    listening = true;
                    backoff.reset();
                    self.wake();
                }
                message = messages.next() => match message {
                    None => return Ok(()),
                    Some(Ok(AsyncMessage::Notification(_))) => self.wake(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                },
            }
        }
    }
}
