//! `filial audit`: lists, exports and verifies the audit log.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use service_kit::client::JsonClient;
use service_kit::output::OutputError;
use wire::v1::audit::{AuditHead, AuditPage, Broken, Entry, Head, MAX_PAGE, Verifier};
use wire::v1::paths;

use crate::args::Global;
use crate::args::accounts::AuditCommand;
use crate::failure::Failure;
use crate::files::{not_created, read_bounded};
use crate::output::done::done;
use crate::output::{answer, plain, table};
use crate::server::{block_on, connect};

/// Longest line of an export, in bytes.
///
/// Two escaped states of 4 KiB and the rest of an entry.
const MAX_LINE: u64 = 256 * 1024;
/// Longest anchor, in bytes.
const MAX_ANCHOR: u64 = 4096;

pub(crate) fn run(global: &Global, command: AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::List { limit, before } => {
            let server = connect(global)?;
            let before = before.map(|seq| format!("&before={seq}")).unwrap_or_default();
            let path = format!("{}?limit={limit}{before}", paths::AUDIT);
            let page: AuditPage = block_on(async { Ok(server.get(&path).await?) })?;
            answer(global.json, &page, list)
        }
        AuditCommand::Verify { file, anchor } => verify(global, file.as_deref(), &anchor),
        AuditCommand::Export { out } => export(global, out),
    }
}

fn list(page: &AuditPage) -> String {
    let row = |e: &Entry| {
        let when = e.at.format("%Y-%m-%d %H:%M:%S").to_string();
        let why = plain(e.reason.as_deref().unwrap_or_default());
        [e.seq.to_string(), when, plain(&e.who), plain(done(&e.action)), plain(&e.subject), why]
    };
    let rows: Vec<_> = page.entries.iter().map(row).collect();
    let mut out = table(["entry", "when (UTC)", "operator", "action", "subject", "reason"], &rows);
    if let Some(next) = page.next {
        out.push_str(&format!("\nOlder entries: filial audit list --before {next}\n"));
    }
    out
}

/// Visits every entry in order, a page at a time.
async fn walk(server: &JsonClient, mut each: impl FnMut(&Entry) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut after = Some(0);
    while let Some(seq) = after {
        let page: AuditPage = server.get(&format!("{}?after={seq}&limit={MAX_PAGE}", paths::AUDIT)).await?;
        page.entries.iter().try_for_each(&mut each)?;
        // A server that does not advance must not loop us.
        after = page.next.filter(|next| *next > seq);
    }
    Ok(())
}

fn export(global: &Global, out: Option<PathBuf>) -> Result<(), Failure> {
    let server = connect(global)?;
    let mut sink: Box<dyn Write> = match &out {
        Some(path) => {
            let file = File::create(path).map_err(|source| not_created(path, source))?;
            Box::new(std::io::BufWriter::new(file))
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let failed = |source| match &out {
        Some(path) => Failure::Write { path: path.clone(), source },
        None => Failure::Output(OutputError(source)),
    };
    let mut rows = 0u64;
    block_on(walk(&server, |entry| {
        rows += 1;
        let line = serde_json::to_string(entry).map_err(Failure::Json)?;
        writeln!(sink, "{line}").map_err(failed)
    }))?;
    sink.flush().map_err(failed)?;
    match &out {
        Some(path) => answer(global.json, &serde_json::json!({ "rows": rows, "file": path }), |_| {
            format!("{rows} entries written to {}.", path.display())
        }),
        None => Ok(()),
    }
}

/// The result of a verification.
#[derive(Serialize)]
struct Verified {
    /// Number of verified entries.
    rows: u64,
    /// Hash of the last entry.
    hash: String,
    /// Number of separately stored anchors that match.
    anchors: usize,
}

fn verify(global: &Global, file: Option<&Path>, anchors: &[PathBuf]) -> Result<(), Failure> {
    let mut kept = anchors.iter().map(|path| anchor(path)).collect::<Result<Vec<Head>, _>>()?;
    let head = match file {
        Some(file) => verify_file(file, &kept)?,
        None => {
            let server = connect(global)?;
            let heads: AuditHead = block_on(async { Ok(server.get(paths::AUDIT_HEAD).await?) })?;
            kept.extend(heads.anchor.into_iter().chain([heads.head]));
            let mut verifier = Verifier::new(kept.clone());
            block_on(walk(&server, |entry| verifier.push(entry).map_err(broken)))?;
            verifier.finish().map_err(broken)?
        }
    };
    let verified = Verified { rows: head.seq, hash: head.hash.to_string(), anchors: kept.len() };
    answer(global.json, &verified, |v| {
        let unanchored =
            "\nNo anchor was given, so entries cut off at the end would not be noticed: use --anchor FILE.";
        let note = if v.anchors == 0 { unanchored } else { "" };
        format!("The audit log is intact: {} entries, the last with hash {}.{note}", v.rows, v.hash)
    })
}

fn broken(broken: Broken) -> Failure {
    let text = broken.to_string();
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let remedy = "Preserve the database and the anchor as evidence, and compare with an older export or backup.";
    Failure::said(format!("The audit log was altered: {first}{}", letters.as_str()), remedy)
}

fn anchor(path: &Path) -> Result<Head, Failure> {
    serde_json::from_slice(&read_bounded(path, MAX_ANCHOR)?).map_err(|_| {
        Failure::said(
            format!("{} is not an anchor of the audit log", path.display()),
            "Give a copy of audit-anchor.json from the server's state folder.",
        )
    })
}

fn verify_file(path: &Path, kept: &[Head]) -> Result<Head, Failure> {
    let mut lines = BufReader::new(File::open(path).map_err(Failure::read(path))?);
    let mut verifier = Verifier::new(kept.iter().copied());
    for number in 1u64.. {
        let mut line = String::new();
        let read = (&mut lines).take(MAX_LINE).read_line(&mut line).map_err(Failure::read(path))?;
        if read == 0 {
            break;
        }
        let entry: Entry = serde_json::from_str(&line).map_err(|_| {
            let sentence = format!("Line {number} of {} is not an entry of the audit log", path.display());
            Failure::said(sentence, "Give a complete file written by `filial audit export`.")
        })?;
        verifier.push(&entry).map_err(broken)?;
    }
    verifier.finish().map_err(broken)
}
