//! `filial operator`.

use reqwest::Method;
use serde_json::json;
use wire::v1::operators::{ChangeOperator, ChangePassword, NewOperator, Operator, SetPassword};
use wire::v1::paths;

use crate::args::Global;
use crate::args::accounts::OperatorCommand;
use crate::ask;
use crate::failure::Failure;
use crate::output::{answer, plain, table};
use crate::server::{block_on, connect, done};

pub(crate) fn run(global: &Global, command: OperatorCommand) -> Result<(), Failure> {
    let server = connect(global)?;
    let change = |name, change: ChangeOperator| {
        let path = format!("{}/{name}", paths::OPERATORS);
        let body = serde_json::to_value(change).map_err(Failure::Json)?;
        let request = server.request(Method::PATCH, &path).timeout(crate::server::PATIENCE).json(&body);
        let operator: Operator = block_on(async {
            let bytes = server.send(request, &path).await?.bytes().await;
            let bytes = bytes.map_err(|_| {
                Failure::said("The answer was cut off", "Check the result with `filial operator list`.")
            })?;
            serde_json::from_slice(&bytes).map_err(Failure::Json)
        })?;
        answer(global.json, &operator, said)
    };
    match command {
        OperatorCommand::Add { name, role, service, password_file, reason } => {
            let password = if service { None } else { Some(ask::new_password(password_file.as_deref())?) };
            let password = password.map(|secret| secret.expose().to_owned());
            let new = NewOperator { name, role, password, reason };
            let added: Operator = block_on(async { Ok(server.post(paths::OPERATORS, &new).await?) })?;
            answer(global.json, &added, said)
        }
        OperatorCommand::List => {
            let all: Vec<Operator> = block_on(async { Ok(server.get(paths::OPERATORS).await?) })?;
            answer(global.json, &all, |all| list(all))
        }
        OperatorCommand::Role { name, role, reason } => {
            change(name, ChangeOperator { role: Some(role), disabled: None, reason })
        }
        OperatorCommand::Disable { name, reason } => {
            change(name, ChangeOperator { role: None, disabled: Some(true), reason })
        }
        OperatorCommand::Enable { name, reason } => {
            change(name, ChangeOperator { role: None, disabled: Some(false), reason })
        }
        OperatorCommand::Password { name, password_file, current_file, reason } => {
            let (path, body) = match &name {
                None => {
                    let current = ask::password(current_file.as_deref(), "Current password: ", "--current-file")?;
                    let new = ask::new_password(password_file.as_deref())?;
                    let (current, new) = (current.expose().to_owned(), new.expose().to_owned());
                    (paths::PASSWORD.to_owned(), serde_json::to_value(ChangePassword { current, new }))
                }
                Some(name) => {
                    let new = ask::new_password(password_file.as_deref())?.expose().to_owned();
                    let path = format!("{}/{name}/password", paths::OPERATORS);
                    (path, serde_json::to_value(SetPassword { new, reason }))
                }
            };
            done(&server, Method::PUT, &path, Some(body.map_err(Failure::Json)?))?;
            let whose = name.map_or_else(|| "Your".to_owned(), |name| format!("{name}'s"));
            answer(global.json, &json!({ "changed": true }), |_| {
                format!("{whose} password is changed; other sessions have ended.")
            })
        }
    }
}

fn said(o: &Operator) -> String {
    let kind = if o.service { "a service" } else { "a person" };
    let state = if o.disabled.is_some() { "disabled" } else { "enabled" };
    format!("{} is {kind} with role {}, {state}.", o.name, o.role)
}

fn list(all: &[Operator]) -> String {
    let row = |o: &Operator| {
        let kind = if o.service { "service" } else { "person" };
        let state = o.disabled.map_or_else(|| "enabled".to_owned(), |at| format!("disabled {}", at.format("%Y-%m-%d")));
        [o.name.to_string(), kind.to_owned(), o.role.to_string(), state, plain(&o.added_by)]
    };
    table(["operator", "kind", "role", "state", "added by"], &all.iter().map(row).collect::<Vec<_>>())
}
