//! `filial branch`, `filial terminal` and `filial assign`.

use std::path::Path;

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use serde_json::{Value, json};
use service_kit::{Clock as _, SystemClock};
use wire::v1::evidence::{BootEvidence, JOURNAL, KERNEL, Word};
use wire::v1::fleet::{
    AcceptKey, AddBranch, Assign, Branch, BranchAdded, BranchAudit, BranchRemoved, BranchSpace, DenyBranch, PlanIssued,
    Terminal, TerminalPackage, TerminalRemoved,
};
use wire::v1::paths;

use crate::args::{AssignArgs, BranchCommand, Global, TerminalCommand, UnassignArgs};
use crate::failure::Failure;
use crate::files::{must_be_new, save_secret};
use crate::output::units::{age, age_or_never, count, or_dash, size, size_of};
use crate::output::{answer, fields, plain, table};
use crate::server::{block_on, connect};
use crate::status::picture::reason;

pub(crate) fn branch(global: &Global, command: BranchCommand) -> Result<(), Failure> {
    let server = connect(global)?;
    let now = SystemClock.now();
    match command {
        BranchCommand::List => {
            let branches: Vec<Branch> = block_on(async { Ok(server.get_all(paths::BRANCHES).await?) })?;
            answer(global.json, &branches, |branches| branch_list(branches, now))
        }
        BranchCommand::Show { branch } => {
            let path = format!("{}/{branch}", paths::BRANCHES);
            let branch: Branch = block_on(async { Ok(server.get(&path).await?) })?;
            answer(global.json, &branch, |b| branch_text(b, now))
        }
        BranchCommand::Add { branch, join_token_hours, join_token_file } => {
            join_token_file.as_deref().map_or(Ok(()), must_be_new)?;
            let join_token_seconds = join_token_hours.map(|hours| hours * 3600);
            let add = AddBranch { name: branch, join_token_seconds };
            let added: BranchAdded = block_on(async { Ok(server.post(paths::BRANCHES, &add).await?) })?;
            answer_added(global, &added, join_token_file.as_deref(), now)
        }
        BranchCommand::Remove { branch, force } => {
            let query = if force { "?force=true" } else { "" };
            let path = format!("{}/{branch}{query}", paths::BRANCHES);
            let removed: BranchRemoved = block_on(async { Ok(server.delete(&path).await?) })?;
            answer(global.json, &removed, |r| {
                format!(
                    "Branch {} and its {} are removed. Its server is refused from now on.",
                    r.name,
                    count(r.terminals, "terminal", "terminals")
                )
            })
        }
        BranchCommand::Deny { branch, reason } => {
            let path = paths::branch_deny(&branch);
            let denied: Branch = block_on(async { Ok(server.post(&path, &DenyBranch { reason }).await?) })?;
            answer(global.json, &denied, |b| format!("The server of branch {} is refused from now on.", b.name))
        }
        BranchCommand::Allow { branch, reason } => {
            let path = paths::branch_allow(&branch);
            let allowed: Branch = block_on(async { Ok(server.post(&path, &DenyBranch { reason }).await?) })?;
            answer(global.json, &allowed, |b| format!("The server of branch {} is allowed again.", b.name))
        }
    }
}

fn answer_added(global: &Global, added: &BranchAdded, file: Option<&Path>, now: DateTime<Utc>) -> Result<(), Failure> {
    let hours = (added.join_token_expires - now).num_hours();
    let until = added.join_token_expires.format("%Y-%m-%d %H:%M UTC");
    let next = format!(
        "Its server enrols once with this token, until {until} ({hours} hours). Next, copy the token to the branch server \
         into the\nfile that its setting `head_office.join_token_file` names, and start it."
    );
    let Some(file) = file else {
        return answer(global.json, added, |added| {
            let shown = "The token is not shown again";
            format!("Branch {} is added. {shown}:\n\n  {}\n\n{next}", added.name, added.join_token)
        });
    };
    save_secret(file, format!("{}\n", added.join_token).as_bytes())?;
    let value = json!({ "name": added.name, "join_token_file": file, "join_token_expires": added.join_token_expires });
    answer(global.json, &value, |_| {
        format!("Branch {} is added. Its server's join token is in {}.\n{next}", added.name, file.display())
    })
}

fn branch_list(branches: &[Branch], now: DateTime<Utc>) -> String {
    if branches.is_empty() {
        return "No branches yet. `filial branch add NAME` adds one.".to_owned();
    }
    let rows: Vec<_> = branches
        .iter()
        .map(|b| {
            let assigned: Vec<String> = b.assignments.iter().map(|a| format!("{} {}", a.product, a.version)).collect();
            let have = b.artifacts.iter().map(|a| a.have_bytes).sum();
            let length = b.artifacts.iter().map(|a| a.length).sum();
            [
                b.name.to_string(),
                match b {
                    Branch { denied: Some(_), .. } => "denied".to_owned(),
                    Branch { enrolled: true, .. } => age_or_never(now, b.last_heard),
                    _ => "not enrolled".to_owned(),
                },
                if assigned.is_empty() { "-".to_owned() } else { assigned.join(", ") },
                if b.artifacts.is_empty() { "-".to_owned() } else { size_of(have, length) },
                format!("{} of {}", b.confirmed, b.terminals),
                b.store.map_or_else(|| "-".to_owned(), |s| size(s.free_bytes)),
            ]
        })
        .collect();
    table(["branch", "heard", "assigned", "artifacts", "confirmed", "free"], &rows)
}

fn branch_text(b: &Branch, now: DateTime<Utc>) -> String {
    let mut out = fields(&[
        ("branch", b.name.to_string()),
        ("enrolled", if b.enrolled { "yes" } else { "no" }.to_owned()),
        ("heard", age_or_never(now, b.last_heard)),
        ("plan", or_dash(b.plan_serial.as_ref())),
        ("terminals", format!("{}, {} confirmed", b.terminals, b.confirmed)),
        ("store", b.store.map_or_else(|| "not reported yet".to_owned(), |s| space(&s, now))),
        ("audit", b.audit.map_or_else(|| "not reported yet".to_owned(), |a| audited(&a, now))),
    ]);
    if let Some(cut) = b.audit.and_then(|audit| audit.cut) {
        let (kept, found) = (cut.kept.seq, cut.found);
        let when = age(now, cut.noticed);
        out.push_str(&format!(
            "the audit log was cut back or rewritten: it had reached entry {kept}, then {found}; {when}\n"
        ));
    }
    if let Some(since) = b.denied {
        out.push_str(&format!("denied {}; `filial branch allow {}` allows it again\n", age(now, since), b.name));
    }
    if let Some(why) = &b.plan_refused {
        out.push_str(&format!("refuses the newest plan: {}\n", reason(Some(why))));
    }
    if b.plan_unreadable.is_some() {
        out.push_str(&format!("{}\n", reason(b.plan_unreadable.as_ref())));
    }
    if !b.assignments.is_empty() {
        let rows: Vec<_> = b.assignments.iter().map(|a| [a.product.to_string(), a.version.to_string()]).collect();
        out.push('\n');
        out.push_str(&table(["product", "version"], &rows));
    }
    if !b.artifacts.is_empty() {
        let rows: Vec<_> = b
            .artifacts
            .iter()
            .map(|a| {
                let trouble = reason(a.trouble.as_ref());
                let state = if a.complete { "complete".to_owned() } else { trouble };
                let name = format!("{} {}", a.product, a.version);
                [a.artifact.short(), name, size_of(a.have_bytes, a.length), state]
            })
            .collect();
        out.push('\n');
        out.push_str(&table(["artifact", "of", "held", "state"], &rows));
    }
    out
}

fn space(s: &BranchSpace, now: DateTime<Utc>) -> String {
    let (free, capacity, held) = (size(s.free_bytes), size(s.capacity_bytes), size(s.held_bytes));
    format!("{free} free of {capacity}, artifacts take {held}, reported {}", age(now, s.reported))
}

fn audited(a: &BranchAudit, now: DateTime<Utc>) -> String {
    format!("{}, the last with hash {}, {}", count(a.head.seq, "entry", "entries"), a.head.hash, age(now, a.at))
}

pub(crate) fn terminal(global: &Global, command: TerminalCommand) -> Result<(), Failure> {
    let server = connect(global)?;
    let now = SystemClock.now();
    match command {
        TerminalCommand::List { branch } => {
            let query = branch.map(|b| format!("?branch={b}")).unwrap_or_default();
            let path = format!("{}{query}", paths::TERMINALS);
            let terminals: Vec<Terminal> = block_on(async { Ok(server.get_all(&path).await?) })?;
            answer(global.json, &terminals, |terminals| terminal_list(terminals, now))
        }
        TerminalCommand::Show { terminal } => {
            let path = format!("{}/{terminal}", paths::TERMINALS);
            let terminal: Terminal = block_on(async { Ok(server.get(&path).await?) })?;
            answer(global.json, &terminal, |t| terminal_text(t, now))
        }
        TerminalCommand::Remove { terminal, force, allow_again } => {
            let chosen = [(force, "force=true"), (allow_again, "allow_again=true")];
            let query: Vec<_> = chosen.into_iter().filter_map(|(chosen, text)| chosen.then_some(text)).collect();
            let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
            let path = format!("{}{query}", paths::terminal(&terminal));
            let removed: TerminalRemoved = block_on(async { Ok(server.delete(&path).await?) })?;
            answer(global.json, &removed, |r| {
                let denied = if r.denied { " It stays denied; --allow-again lifts that." } else { "" };
                format!("Terminal {}/{} is removed.{denied}", r.branch, r.name)
            })
        }
        TerminalCommand::Deny { .. } | TerminalCommand::Allow { .. } if global.at.is_none() => {
            let remedy = "Add --at BRANCH and --server with the branch server's address.";
            Err(Failure::said(
                "Terminals are denied and allowed at their branch server, but no branch is given",
                remedy,
            ))
        }
        TerminalCommand::Deny { terminal, reason, keep_join_token } => {
            let path = paths::terminal_deny(&terminal);
            let mut body = json!({ "reason": reason });
            if keep_join_token {
                // Only then: older branch servers do not know it.
                body["keep_join_token"] = json!(true);
            }
            let denied: Value = block_on(async { Ok(server.post(&path, &body).await?) })?;
            answer(global.json, &denied, |d| {
                let replaced = match d["join_token_replaced"].as_bool() {
                    Some(true) => {
                        " The branch's join token is replaced: machines that enrol from now on need the new one, in the branch \
                                   server's `terminals.join_token_file`."
                    }
                    _ => " The branch's join token is not replaced: a machine that has it can enrol under a new name.",
                };
                format!("Terminal {terminal} is refused at its branch from now on.{replaced}")
            })
        }
        TerminalCommand::Allow { terminal, key, reason } => {
            let shown = "`filial status --at BRANCH` shows the key that is requested, and so does the terminal's log.";
            key.as_deref().map_or(Ok(()), |key| is_key(key, shown))?;
            let path = paths::terminal_allow(&terminal);
            let mut body = json!({ "key": key });
            if let Some(reason) = reason {
                // Only then: older branch servers do not know it.
                body["reason"] = json!(reason);
            }
            let allowed: Value = block_on(async { Ok(server.post(&path, &body).await?) })?;
            answer(global.json, &allowed, |t| {
                let key = t["key"].as_str().map(|key| format!(", with key {}", plain(key))).unwrap_or_default();
                format!("Terminal {terminal} is allowed again at its branch{key}.")
            })
        }
        TerminalCommand::AcceptKey { terminal, key, reason } => {
            is_key(&key, "`filial terminal show BRANCH/NAME` shows the key that is requested.")?;
            let path = paths::terminal_key(&terminal);
            let terminal: Terminal = block_on(async { Ok(server.post(&path, &AcceptKey { key, reason }).await?) })?;
            answer(global.json, &terminal, |t| format!("The new key of {}/{} is accepted.", t.branch, t.name))
        }
    }
}

/// Refuses text that is not a terminal's key, before the server is asked.
fn is_key(text: &str, remedy: &str) -> Result<(), Failure> {
    text.parse::<Digest>().map(drop).map_err(|_| {
        let sentence = format!("{} is not a key: a key is 64 hexadecimal digits", plain(text));
        Failure::said(sentence, remedy)
    })
}

fn terminal_list(terminals: &[Terminal], now: DateTime<Utc>) -> String {
    if terminals.is_empty() {
        return "No terminals yet. Terminals enrol by themselves at their branch server.".to_owned();
    }
    let rows: Vec<_> = terminals
        .iter()
        .map(|t| {
            [
                format!("{}/{}", t.branch, t.name),
                t.model.to_string(),
                or_dash(t.slot.as_ref()),
                or_dash(t.version.as_ref()),
                t.update.as_ref().map_or_else(|| "-".to_owned(), |u| format!("{} {}", u.version, u.state)),
                heard(t, now),
            ]
        })
        .collect();
    table(["terminal", "model", "slot", "version", "update", "heard"], &rows)
}

/// When a terminal was heard, and whether it is denied.
fn heard(t: &Terminal, now: DateTime<Utc>) -> String {
    let heard = age_or_never(now, t.last_heard);
    t.denied.map_or_else(|| heard.clone(), |at| format!("{heard}; denied {}", age(now, at)))
}

fn terminal_text(t: &Terminal, now: DateTime<Utc>) -> String {
    let mut out = fields(&[
        ("terminal", format!("{}/{}", t.branch, t.name)),
        ("model", t.model.to_string()),
        ("slot", format!("{} ({} each)", or_dash(t.slot.as_ref()), size(t.slot_bytes))),
        ("version", or_dash(t.version.as_ref())),
        ("agent", plain(&t.agent_version)),
        ("heard", heard(t, now)),
        ("key", or_dash(t.key.as_ref())),
    ]);
    if let Some(key) = &t.asked_key {
        let who = format!("{}/{}", t.branch, t.name);
        let key = plain(key);
        out.push_str(&format!(
            "another key is requested: {key}\n  if the change is legitimate: filial terminal accept-key {who} {key}\n"
        ));
    }
    if let Some(why) = &t.plan_refused {
        out.push_str(&format!("refuses the newest plan: {}\n", reason(Some(why))));
    }
    if !t.packages.is_empty() {
        out.push('\n');
        out.push_str(&package_table(&t.packages, now));
    }
    let Some(u) = &t.update else { return out };
    out.push('\n');
    out.push_str(&fields(&[
        ("update", format!("{} {}", u.product, u.version)),
        ("state", format!("{}, {}", u.state, age(now, u.since))),
        ("segments", format!("{} of {}", u.segments_done, u.segments_total)),
        ("reason", reason(u.reason.as_ref())),
        ("plan", u.serial.to_string()),
    ]));
    let rows: Vec<_> = u
        .history
        .iter()
        .map(|m| [or_dash(m.from.as_ref()), m.to.to_string(), age(now, m.at), reason(m.reason.as_ref())])
        .collect();
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&table(["from", "to", "when", "reason"], &rows));
    }
    if let Some(evidence) = &u.evidence {
        out.push('\n');
        out.push_str(&evidence_text(evidence));
    }
    out
}

/// Renders the last lines of a failed boot, indented.
///
/// Control characters are removed here too.
fn evidence_text(e: &BootEvidence) -> String {
    let times = match e.tried {
        0 => "never seen trying".to_owned(),
        1 => "tried once".to_owned(),
        n => format!("tried {n} times"),
    };
    let boot =
        e.boot_id.as_ref().map_or_else(|| "boot id unknown".to_owned(), |id| format!("boot {}", plain(id.as_str())));
    let source = match e.source.as_ref().map(Word::as_str) {
        None => String::new(),
        Some(JOURNAL) => ", from the journal".to_owned(),
        Some(KERNEL) => ", from the kernel".to_owned(),
        Some(other) => format!(", from {}", plain(other)),
    };
    let mut out = format!("last lines of the failed boot ({boot}, slot {}, {times}{source}):\n", e.slot);
    if let Some(note) = &e.note {
        out.push_str(&format!("  ({})\n", plain(note.as_str())));
    }
    for line in e.lines.lines() {
        out.push_str(&format!("  {}\n", plain(line)));
    }
    out
}

fn package_table(packages: &[TerminalPackage], now: DateTime<Utc>) -> String {
    let row = |p: &TerminalPackage| {
        let state = if p.complete { "complete" } else { "fetching" };
        let trouble = p.trouble.as_ref().map_or_else(String::new, |t| reason(Some(t)));
        let held = size_of(p.have_bytes, p.total_bytes);
        let name = format!("{} {}", p.product, p.version);
        [name, plain(&p.name), held, format!("{state}, {}", age(now, p.since)), trouble]
    };
    table(["package", "payload", "held", "state", "problem"], &packages.iter().map(row).collect::<Vec<_>>())
}

pub(crate) fn assign(global: &Global, args: AssignArgs) -> Result<(), Failure> {
    let server = connect(global)?;
    let AssignArgs { branch, product, version, downgrade } = args;
    let what = format!("{product} {version}");
    let assign = Assign { branch, product, version, downgrade };
    let plan: PlanIssued = block_on(async { Ok(server.post(paths::ASSIGNMENTS, &assign).await?) })?;
    answer(global.json, &plan, |plan| {
        let names: Vec<&str> = plan.terminals.iter().map(|t| t.as_str()).collect();
        let names = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
        format!("{what} is assigned to branch {}: plan {}, terminals: {names}.", plan.branch, plan.serial)
    })
}

pub(crate) fn unassign(global: &Global, args: UnassignArgs) -> Result<(), Failure> {
    let server = connect(global)?;
    let UnassignArgs { branch, product } = args;
    let path = paths::assignment(&branch, &product);
    let plan: PlanIssued = block_on(async { Ok(server.delete(&path).await?) })?;
    answer(global.json, &plan, |plan| {
        format!("{product} is no longer assigned to branch {}: plan {}.", plan.branch, plan.serial)
    })
}
