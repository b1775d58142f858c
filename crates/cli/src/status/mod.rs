//! `filial status`: releases, branches and terminals on one screen, once or continuously.

mod changes;
pub(crate) mod picture;
mod screen;

use std::time::Duration;

use serde_json::json;
use service_kit::client::{ClientError, JsonClient};
use service_kit::output::complain;
use wire::v1::paths;
use wire::v1::status::Status;

use crate::args::{Global, StatusArgs};
use crate::failure::Failure;
use crate::output::{answer, json_line, say};
use crate::server::{block_on, connect};

use changes::Changes;
use screen::Screen;

pub(crate) fn run(global: &Global, options: StatusArgs) -> Result<(), Failure> {
    let server = connect(global)?;
    let interval = Duration::from_secs_f64(options.interval);
    match (options.watch, global.json) {
        (false, json) => {
            let status = block_on(async { Ok(look(&server).await?) })?;
            answer(json, &status, |s| picture::picture(s, None))
        }
        (true, true) => block_on(lines(&server, interval)),
        (true, false) => block_on(live(&server, interval)),
    }
}

async fn look(server: &JsonClient) -> Result<Status, ClientError> {
    server.get(paths::STATUS).await
}

/// Prints a JSON line for each change. An unreachable server is a line too, and is retried.
async fn lines(server: &JsonClient, interval: Duration) -> Result<(), Failure> {
    let mut changes = Changes::default();
    let mut reachable = true;
    loop {
        match look(server).await {
            Ok(status) => {
                reachable = true;
                changes.since(&status)?.iter().try_for_each(json_line)?;
            }
            Err(e) if e.is_transient() => {
                if std::mem::replace(&mut reachable, false) {
                    json_line(&json!({ "kind": "unreachable", "error": e.to_string() }))?;
                }
            }
            Err(e) => return Err(e.into()),
        }
        tokio::time::sleep(interval).await;
    }
}

/// Draws the screen in place on a terminal; elsewhere prints it again after each change.
///
/// While the server does not answer, the last picture stays, with the reason below it or on standard error.
async fn live(server: &JsonClient, interval: Duration) -> Result<(), Failure> {
    let screen = Screen::find();
    let mut last = String::new();
    let mut trouble = String::new();
    let mut changes = Changes::default();
    loop {
        let (changed, now) = match look(server).await {
            Ok(status) => {
                let changed = !changes.since(&status)?.is_empty();
                last = picture::picture(&status, screen.as_ref().map(Screen::width));
                (changed, String::new())
            }
            Err(e) if e.is_transient() => (false, format!("{}; retrying", Failure::from(e).sentence())),
            Err(e) => return Err(e.into()),
        };
        let is_new = now != trouble;
        trouble = now;
        match &screen {
            Some(screen) => screen.draw(&last, &trouble)?,
            None => {
                if is_new {
                    let text = if trouble.is_empty() { "the server answers again" } else { &trouble };
                    complain(&format!("filial: {text}\n"));
                }
                if changed {
                    say(&format!("{last}\n"))?;
                }
            }
        }
        tokio::time::sleep(interval).await;
    }
}
