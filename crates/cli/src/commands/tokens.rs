//! `filial token`.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::json;
use service_kit::{Clock as _, SystemClock};
use wire::v1::operators::{NewToken, Token, TokenMade};
use wire::v1::paths;

use crate::args::Global;
use crate::args::accounts::TokenCommand;
use crate::failure::Failure;
use crate::files::{must_be_new, save_secret};
use crate::output::units::{age, age_or_never};
use crate::output::{answer, plain, table};
use crate::server::{block_on, connect, done};

pub(crate) fn run(global: &Global, command: TokenCommand) -> Result<(), Failure> {
    let server = connect(global)?;
    match command {
        TokenCommand::Create { name, role, scope, days, operator, reason, out } => {
            out.as_deref().map_or(Ok(()), must_be_new)?;
            let new = NewToken { name, role, scope, days, operator, reason };
            let made: TokenMade = block_on(async { Ok(server.post(paths::TOKENS, &new).await?) })?;
            let until = until(&made, days);
            let Some(file) = out else {
                return answer(global.json, &made, |made| {
                    format!("Token {}, valid until {until}. It is not shown again:\n\n  {}", made.kept.id, made.token)
                });
            };
            save_secret(&file, format!("{}\n", made.token).as_bytes())?;
            answer(global.json, &json!({ "file": file, "kept": made.kept }), |_| {
                format!("Token {} is in {}. It is valid until {until}.", made.kept.id, file.display())
            })
        }
        TokenCommand::List { operator } => {
            let query = operator.map(|name| format!("?operator={name}")).unwrap_or_default();
            let path = format!("{}{query}", paths::TOKENS);
            let tokens: Vec<Token> = block_on(async { Ok(server.get(&path).await?) })?;
            answer(global.json, &tokens, |tokens| list(tokens, SystemClock.now()))
        }
        TokenCommand::Revoke { id } => {
            done(&server, Method::DELETE, &format!("{}/{id}", paths::TOKENS), None)?;
            answer(global.json, &json!({ "id": id, "revoked": true }), |_| format!("Token {id} is revoked."))
        }
    }
}

/// Lifetime of a token if none is asked for and the server allows it, in days.
const DEFAULT_DAYS: u32 = 90;

/// When a token ends, with the cause if that is earlier than what was asked for.
fn until(made: &TokenMade, asked: Option<u32>) -> String {
    let Token { made: from, expires, .. } = &made.kept;
    let until = expires.format("%Y-%m-%d %H:%M UTC");
    let days = asked.unwrap_or(DEFAULT_DAYS);
    if *expires - *from >= TimeDelta::days(i64::from(days)) {
        return until.to_string();
    }
    format!(
        "{until}, less than {days} days: a token ends at the latest when the token or login that makes it ends. For a longer \
         life, log in with `filial login NAME --days {days}` and create it again"
    )
}

fn list(tokens: &[Token], now: DateTime<Utc>) -> String {
    if tokens.is_empty() {
        return "No tokens. `filial token create NAME` creates one.".to_owned();
    }
    let state = |t: &Token| match (t.revoked, t.expires <= now) {
        (Some(at), _) => format!("revoked {}", age(now, at)),
        (None, true) => format!("expired {}", age(now, t.expires)),
        (None, false) => format!("until {}", t.expires.format("%Y-%m-%d")),
    };
    let row = |t: &Token| {
        let scope = t.scope.as_ref().map_or_else(|| "all".to_owned(), |groups| groups.join(", "));
        [t.id.to_string(), plain(&t.name), t.role.to_string(), scope, age_or_never(now, t.last_used), state(t)]
    };
    table(["token", "for", "role", "scope", "last used", "state"], &tokens.iter().map(row).collect::<Vec<_>>())
}
