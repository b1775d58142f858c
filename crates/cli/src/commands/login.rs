//! `filial login` and `filial logout`.

use reqwest::Method;
use reqwest::header::{COOKIE, ORIGIN, SET_COOKIE};
use serde_json::json;
use service_kit::client::{ClientError, JsonClient};
use wire::v1::operators::{CSRF_HEADER, LogIn, LoggedIn, NewToken, TokenMade};
use wire::v1::paths;

use crate::args::Global;
use crate::args::accounts::LoginArgs;
use crate::credentials::{self, Login};
use crate::failure::Failure;
use crate::output::answer;
use crate::server::{anchor, anonymous, block_on, connect};
use crate::{ask, server};

pub(crate) fn login(global: &Global, args: &LoginArgs) -> Result<(), Failure> {
    let server = anonymous(global)?;
    let prompt = format!("Password of {} at {}: ", args.name, global.server);
    let password = ask::password(args.password_file.as_deref(), &prompt, "--password-file")?;
    credentials::can_keep(global)?;
    let log_in = LogIn { name: args.name.to_string(), password: password.expose().to_owned() };
    let made = block_on(exchange(&server, &log_in, args.days))?;
    let (expires, role) = (made.kept.expires, made.kept.role);
    let login = Login { operator: made.kept.operator, id: made.kept.id, token: made.token, expires };
    let authority = anchor(global)?.map(|anchor| anchor.fingerprint());
    let file = credentials::keep(global, login, authority)?;
    let value = json!({ "name": args.name, "role": role, "expires": expires, "file": file });
    answer(global.json, &value, |_| {
        format!("Logged in as {} ({role}) until {}.", args.name, expires.format("%Y-%m-%d %H:%M UTC"))
    })
}

/// Exchanges the password for a token, through a session that ends at once.
async fn exchange(server: &JsonClient, log_in: &LogIn, days: u32) -> Result<TokenMade, Failure> {
    let odd = || {
        let remedy = "Check that --server is the address of head office, or with --at that of the branch's server.";
        Failure::said("The server did not answer the login as a server of Filial does", remedy)
    };
    let request = server.request(Method::POST, paths::SESSION).timeout(server::PATIENCE).json(log_in);
    let response = server.send(request, paths::SESSION).await?;
    let cookie = response.headers().get(SET_COOKIE).and_then(|v| v.to_str().ok()).and_then(|v| v.split(';').next());
    let cookie = cookie.ok_or_else(odd)?.to_owned();
    let session: LoggedIn = response.json().await.map_err(|_| odd())?;
    let origin = reqwest::Url::parse(server.base_url()).map_err(|_| odd())?.origin().ascii_serialization();
    let within = |method, path| {
        let request = server.request(method, path).timeout(server::PATIENCE).header(COOKIE, &cookie);
        request.header(ORIGIN, &origin).header(CSRF_HEADER, &session.csrf_token)
    };
    let (name, role, days) = ("filial login".to_owned(), session.role, Some(days));
    let new = NewToken { name, role, scope: None, days, operator: None, reason: None };
    let made = server.send(within(Method::POST, paths::TOKENS).json(&new), paths::TOKENS).await;
    server.send(within(Method::DELETE, paths::SESSION), paths::SESSION).await?;
    made?.json().await.map_err(|_| odd())
}

pub(crate) fn logout(global: &Global) -> Result<(), Failure> {
    if credentials::token(global)?.is_none() {
        return Err(Failure::said(
            format!("You are not logged in at {}", global.server),
            "Log in with `filial login`.",
        ));
    }
    let server = connect(&Global { token_file: None, ..global.clone() })?;
    let path = paths::SESSION;
    let request = server.request(Method::DELETE, path).timeout(server::PATIENCE);
    match block_on(async { Ok(server.send(request, path).await?) }) {
        // A refused token is already invalid.
        Ok(_) | Err(Failure::Client(ClientError::Refused(_))) => {}
        Err(failure) => return Err(failure),
    }
    credentials::forget(global)?;
    answer(global.json, &json!({ "server": global.server, "logged_out": true }), |_| {
        format!("Logged out at {}; the token is revoked.", global.server)
    })
}
