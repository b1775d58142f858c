//! `filial torrent`: creates, inspects and verifies torrent files, without a server.

use std::path::{Path, PathBuf};

use fleet_types::Digest;
use serde_json::{Value, json};
use swarm::{Torrent, torrent::MAX_TORRENT_LEN};

use crate::args::{Global, TorrentCommand};
use crate::failure::Failure;
use crate::files::{can_create, read_bounded, save};
use crate::output::units::size;
use crate::output::{answer, fields, plain, progress, table};

/// Maximum files or pieces shown; JSON has all.
const SHOWN: usize = 20;

pub(crate) fn run(global: &Global, command: TorrentCommand) -> Result<(), Failure> {
    match command {
        TorrentCommand::Create { path, out, name, piece_length, tracker } => {
            create(global, &path, out, name, piece_length, tracker)
        }
        TorrentCommand::Inspect { torrent } => {
            let torrent = read(&torrent)?;
            answer(global.json, &describe(&torrent, None), |_| text(&torrent, None))
        }
        TorrentCommand::Verify { torrent, path } => verify(global, &torrent, &path),
    }
}

fn create(
    global: &Global,
    path: &Path,
    out: Option<PathBuf>,
    name: Option<String>,
    piece_kib: Option<u32>,
    trackers: Vec<String>,
) -> Result<(), Failure> {
    let name = name.map_or_else(|| default_name(path), Ok)?;
    let out = out.unwrap_or_else(|| format!("{name}.torrent").into());
    let piece_length = piece_kib.map(|kib| kib.saturating_mul(1024));
    if let Some(tracker) = trackers.iter().find(|t| reqwest::Url::parse(t).is_err()) {
        return Err(Failure::said(
            format!("{tracker:?} is not a tracker's announce URL"),
            "Give a URL such as http://10.0.0.1:6969/announce.",
        ));
    }
    let tiers: Vec<Vec<String>> = trackers.into_iter().map(|t| vec![t]).collect();
    let file = std::fs::metadata(path).map_err(Failure::read(path))?;
    // Before minutes of reading.
    can_create(&out)?;
    let bar = progress::bytes("hashing", if file.is_file() { file.len() } else { 0 }, global.json);
    let mut moved = |done| {
        bar.set_length(bar.length().unwrap_or(0).max(done));
        bar.set_position(done);
    };
    // One pass also yields a single file's digest.
    let made = if file.is_file() {
        swarm::create(path, &name, piece_length, &mut moved).map(|c| (c.torrent, Some(c.sha256)))
    } else {
        swarm::create_any(path, &name, piece_length, &mut moved).map(|t| (t, None))
    };
    bar.finish_and_clear();
    let (torrent, sha256) = made?;
    let bytes = torrent.to_file(&tiers);
    save(&out, &bytes)?;
    // Parsed again, so that the output shows what any client will see.
    let torrent = Torrent::parse(&bytes)?;
    let mut value = describe(&torrent, sha256);
    value["file"] = json!(out);
    answer(global.json, &value, |_| format!("{}\n{}", out.display(), text(&torrent, sha256)))
}

fn default_name(path: &Path) -> Result<String, Failure> {
    let whole = path.canonicalize().map_err(Failure::read(path))?;
    whole.file_name().and_then(|n| n.to_str()).map(str::to_owned).ok_or_else(|| {
        Failure::said(format!("The name of {} is not UTF-8", path.display()), "Give the content a name with --name.")
    })
}

fn read(path: &Path) -> Result<Torrent, Failure> {
    Ok(Torrent::parse(&read_bounded(path, MAX_TORRENT_LEN as u64)?)?)
}

/// The files that lie on a disk: without the padding between them.
fn files_of(t: &Torrent) -> impl Iterator<Item = &swarm::TorrentFile> {
    t.files().iter().filter(|f| !f.padding)
}

fn describe(t: &Torrent, sha256: Option<Digest>) -> Value {
    let files: Vec<Value> = files_of(t).map(|f| json!({ "path": f.path.join("/"), "length": f.length })).collect();
    let mut value = json!({
        "info_hash": t.info_hash(), "name": t.name(), "length": t.length(), "piece_length": t.piece_length(),
        "pieces": t.piece_count(), "private": t.is_private(), "trackers": t.tiers(), "files": files,
    });
    if let Some(sha256) = sha256 {
        value["sha256"] = json!(sha256);
    }
    value
}

fn text(t: &Torrent, sha256: Option<Digest>) -> String {
    let trackers: Vec<String> = t.tiers().iter().flatten().map(|t| plain(t)).collect();
    let pieces = format!("{} of {} KiB", t.piece_count(), t.piece_length() / 1024);
    let mut out = fields(&[
        ("info hash", t.info_hash().to_string()),
        ("name", plain(t.name())),
        ("length", format!("{} ({} bytes)", size(t.length()), t.length())),
        ("pieces", pieces),
        ("private", if t.is_private() { "yes" } else { "no" }.to_owned()),
        ("trackers", if trackers.is_empty() { "none".to_owned() } else { trackers.join(", ") }),
        ("sha256", sha256.map(|d| d.to_string()).unwrap_or_default()),
    ]);
    if t.is_folder() {
        let rows: Vec<_> = files_of(t).take(SHOWN).map(|f| [size(f.length), plain(&f.path.join("/"))]).collect();
        out.push('\n');
        out.push_str(&table(["size", "file"], &rows));
        let count = files_of(t).count();
        if count > SHOWN {
            out.push_str(&format!("… and {} more; --json shows all\n", count - SHOWN));
        }
    }
    out
}

fn verify(global: &Global, torrent: &Path, path: &Path) -> Result<(), Failure> {
    let torrent = read(torrent)?;
    // Missing files count as bad pieces; a missing path is more likely a typing error.
    std::fs::metadata(path).map_err(Failure::read(path))?;
    let bar = progress::bytes("checking", torrent.length(), global.json);
    let found = torrent.verify(path, &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let found = found?;
    let value = json!({
        "info_hash": torrent.info_hash(), "good": found.good, "bad": found.bad, "too_long": found.too_long,
        "ok": found.is_good(),
    });
    answer(global.json, &value, |_| {
        let mut out = format!("{} of {} pieces are valid.", found.good, torrent.piece_count());
        if !found.bad.is_empty() {
            let first: Vec<String> = found.bad.iter().take(SHOWN).map(u64::to_string).collect();
            let more = if found.bad.len() > SHOWN { ", …" } else { "" };
            out.push_str(&format!("\nInvalid pieces: {}{more}", first.join(", ")));
        }
        for file in &found.too_long {
            out.push_str(&format!("\n{} is too long.", file.display()));
        }
        out
    })?;
    if found.is_good() {
        return Ok(());
    }
    Err(Failure::said(
        format!("{} does not match the torrent", path.display()),
        "Fetch it again: a BitTorrent client replaces only the invalid pieces.",
    ))
}
