//! `filial audit`: who changed what, and whether that can be believed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use service_kit::client::JsonClient;
use wire::v1::audit::{AuditHead, AuditPage, Broken, Entry, Head, MAX_PAGE, Verifier};
use wire::v1::paths;

use crate::args::Global;
use crate::args::accounts::AuditCommand;
use crate::failure::Failure;
use crate::output::{answer, plain, table};
use crate::server::{block_on, connect};

/// Longest line of an export, in bytes: two states of 4 KiB, escaped, and the rest of a row.
const MAX_LINE: u64 = 256 * 1024;

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
        [e.seq.to_string(), when, plain(&e.who), plain(&e.action), plain(&e.subject), why]
    };
    let rows: Vec<_> = page.entries.iter().map(row).collect();
    let mut out = table(["row", "when (UTC)", "who", "did", "to", "why"], &rows);
    if let Some(next) = page.next {
        out.push_str(&format!("\nOlder ones: filial audit list --before {next}\n"));
    }
    out
}

/// Every row in order, a page at a time.
async fn walk(server: &JsonClient, mut each: impl FnMut(&Entry) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut after = Some(0);
    while let Some(seq) = after {
        let page: AuditPage = server.get(&format!("{}?after={seq}&limit={MAX_PAGE}", paths::AUDIT)).await?;
        page.entries.iter().try_for_each(&mut each)?;
        // One that does not lead on would lead round in circles.
        after = page.next.filter(|next| *next > seq);
    }
    Ok(())
}

fn export(global: &Global, out: Option<PathBuf>) -> Result<(), Failure> {
    let server = connect(global)?;
    let mut sink: Box<dyn Write> = match &out {
        Some(path) => {
            let failed = |source| Failure::Write { path: path.clone(), source };
            Box::new(std::io::BufWriter::new(File::create(path).map_err(failed)?))
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let failed = |source| match &out {
        Some(path) => Failure::Write { path: path.clone(), source },
        None => Failure::Output(source),
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
            format!("{rows} rows are in {}.", path.display())
        }),
        None => Ok(()),
    }
}

/// What a check found.
#[derive(Serialize)]
struct Verified {
    /// How many rows hang together.
    rows: u64,
    /// The hash of the last.
    hash: String,
    /// How many heads that were kept elsewhere they agree with.
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
        let unanchored = "\nNothing that was kept elsewhere was given, so that rows missing at the end would not show.";
        let note = if v.anchors == 0 { unanchored } else { "" };
        format!("The audit hangs together: {} rows, the last with hash {}.{note}", v.rows, v.hash)
    })
}

fn broken(broken: Broken) -> Failure {
    let text = broken.to_string();
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let remedy = "Keep this database and the anchor as evidence, and compare with an older export or backup.";
    Failure::said(format!("The audit is not as it was written: {first}{}", letters.as_str()), remedy)
}

fn anchor(path: &Path) -> Result<Head, Failure> {
    let file = File::open(path).map_err(Failure::read(path))?;
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).map_err(Failure::read(path))?;
    serde_json::from_str(&text).map_err(|_| {
        Failure::said(format!("{} is no anchor of the audit", path.display()), "Name head office's audit-anchor.json.")
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
            let sentence = format!("Line {number} of {} is no row of an audit", path.display());
            Failure::said(sentence, "Name a file that filial audit export wrote, all of it.")
        })?;
        verifier.push(&entry).map_err(broken)?;
    }
    verifier.finish().map_err(broken)
}
