//! `filial release`: packs, inspects, validates and signs on this machine.

use std::path::{Path, PathBuf};

use release::{Facts, Limits, Manifest, Packed, Policy, Scan, evaluate};
use serde_json::json;
use service_kit::{Clock as _, SystemClock};
use wire::v1::releases::Verdict;

use crate::args::{Global, ReleaseCommand, ReleaseSignArgs};
use crate::failure::Failure;
use crate::files::{can_create, open, read_bounded};
use crate::output::checklist::{checklist, summary};
use crate::output::units::size;
use crate::output::{answer, fields, plain, progress, say, table};
use crate::upload;

use super::{releases, signatures};

/// Longest accepted policy file, in bytes.
const MAX_POLICY: u64 = 1024 * 1024;

pub(crate) fn run(global: &Global, command: ReleaseCommand) -> Result<(), Failure> {
    match command {
        ReleaseCommand::Pack { source, out } => pack(global, &source, out),
        ReleaseCommand::Inspect { file } => inspect(global, &file),
        ReleaseCommand::Validate { file, policy } => validate(global, &file, policy.as_deref()),
        ReleaseCommand::Sign(args) => sign(global, &args),
        ReleaseCommand::PostSignatures { release, proposal } => signatures::post(global, &release, &proposal),
        ReleaseCommand::Upload { file, no_wait, wait: _, retries } => upload::run(global, &file, !no_wait, retries),
        ReleaseCommand::Cancel { upload } => upload::cancel(global, &upload),
        ReleaseCommand::List => releases::list(global),
        ReleaseCommand::Show { release } => releases::show(global, &release),
        ReleaseCommand::Approve { release, reason } => releases::approve(global, &release, reason),
        ReleaseCommand::Withdraw { release, reason } => releases::withdraw(global, &release, reason),
    }
}

fn pack(global: &Global, source: &Path, out: Option<PathBuf>) -> Result<(), Failure> {
    let out = match out {
        Some(out) => out,
        None => release::archive_name(source)?.into(),
    };
    can_create(&out)?;
    let bar = progress::bytes("packing", 0, global.json);
    let packed = release::pack(source, &out, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let packed = packed?;
    let Packed { manifest, manifest_sha256, length } = &packed;
    let value = json!({
        "file": out, "bytes": length, "manifest_sha256": manifest_sha256,
        "product": manifest.product, "version": manifest.version, "payloads": manifest.payloads,
    });
    answer(global.json, &value, |_| {
        format!(
            "{}: {} {}, {}\n{}",
            out.display(),
            manifest.product,
            manifest.version,
            size(*length),
            payloads(manifest)
        )
    })
}

fn payloads(manifest: &Manifest) -> String {
    let rows: Vec<_> = manifest
        .payloads
        .iter()
        .map(|p| {
            let models: Vec<&str> = p.compatible.iter().map(|m| m.as_str()).collect();
            let models = if models.is_empty() { "-".to_owned() } else { models.join(" ") };
            [p.name.to_string(), p.kind.to_string(), size(p.size), models, p.sha256.short(), p.file.to_string()]
        })
        .collect();
    table(["payload", "kind", "size", "models", "sha256", "file"], &rows)
}

fn inspect(global: &Global, path: &Path) -> Result<(), Failure> {
    let (file, length) = open(path)?;
    let found = release::inspect(file, &Limits::default()).map_err(Failure::read(path))?;
    let (manifest, sha256) = manifest_of(path, &found)?;
    let value = json!({ "file": path, "bytes": length, "manifest_sha256": sha256, "manifest": manifest });
    answer(global.json, &value, |_| {
        let head = fields(&[
            ("product", manifest.product.to_string()),
            ("version", manifest.version.to_string()),
            ("requires", manifest.requires.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("min_agent", manifest.min_agent.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("manifest", sha256.to_string()),
            ("archive", format!("{} ({length} bytes)", size(length))),
            ("notes", plain(&manifest.notes)),
        ]);
        format!("{head}\n{}", payloads(manifest))
    })
}

/// Signs the archive's content, after reading it whole and checking it against the rules.
fn sign(global: &Global, args: &ReleaseSignArgs) -> Result<(), Failure> {
    let (file, length) = open(&args.file)?;
    let bar = progress::bytes("checking", length, global.json);
    let found = release::scan(file, &Limits::default(), &mut |at| bar.set_position(at));
    bar.finish_and_clear();
    let found = found.map_err(Failure::read(&args.file))?;
    let (manifest, sha256) = manifest_of(&args.file, &found)?;
    let report = evaluate(&found, &Facts::at(SystemClock.now()), &Policy::default());
    if report.verdict() == Verdict::Fail {
        let sentence = format!("{} fails a rule, so it is not signed", args.file.display());
        return Err(Failure::said(sentence, "`filial release validate` shows which, and how to correct it."));
    }
    super::trust::release::sign(global, args, manifest, sha256)
}

fn manifest_of<'a>(path: &Path, found: &'a Scan) -> Result<(&'a Manifest, fleet_types::Digest), Failure> {
    let no = |why: String| {
        let sentence = format!("{} is not a valid update archive: {why}", path.display());
        Failure::said(sentence, "`filial release validate` shows everything that is wrong with it.")
    };
    match &found.manifest {
        Some(read) => read.parsed.as_ref().map(|m| (m, read.sha256)).map_err(|e| no(format!("{e} [{}]", e.code()))),
        None => Err(no(found
            .flaws
            .first()
            .map_or_else(|| "it has no manifest".to_owned(), |flaw| format!("{flaw} [{}]", flaw.code())))),
    }
}

fn validate(global: &Global, path: &Path, policy: Option<&Path>) -> Result<(), Failure> {
    let policy = policy.map_or_else(|| Ok(Policy::default()), read_policy)?;
    let (file, length) = open(path)?;
    let bar = progress::bytes("checking", length, global.json);
    let found = release::scan(file, &policy.limits(), &mut |at| bar.set_position(at));
    bar.finish_and_clear();
    let report = evaluate(&found.map_err(Failure::read(path))?, &Facts::at(SystemClock.now()), &policy);
    answer(global.json, &report, |report| format!("{}\n{}", checklist(report), summary(report)))?;
    if report.verdict() == Verdict::Fail {
        return Err(Failure::rejected(format!("{} fails a rule", path.display())));
    }
    if !global.json && report.verdict() == Verdict::Unknown {
        say("Head office decides the unknown rules when the archive is uploaded.")?;
    }
    Ok(())
}

fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let bytes = read_bounded(path, MAX_POLICY)?;
    let invalid = |why: &str| {
        let sentence = format!("{} is not a valid policy: {why}", path.display());
        Failure::said(sentence, "Correct the setting, or omit it to use the default.")
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not text"))?;
    Policy::parse(text).map_err(|error| invalid(error.why()))
}
