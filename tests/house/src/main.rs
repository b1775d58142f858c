//! `house`: checks the rules of the house that no compiler knows.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use house::{Finding, House, checks};

/// Checks the rules of the house that no compiler knows.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  house check\n  house check --only circles,pure\n  house check --in terminal-agent --json\n  \
                  house imports terminal-agent/src/agent.rs\n\nExit codes: 0 every rule holds, 1 findings, 2 the workspace cannot be read."
)]
struct Arguments {
    /// The workspace's folder.
    #[arg(long, global = true, default_value = ".")]
    root: PathBuf,
    /// The folder of house.toml and words.toml; by default the workspace's own.
    #[arg(long, global = true, value_name = "FOLDER")]
    rules: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the checks and lists where a rule is broken.
    Check {
        /// Run these checks only.
        #[arg(long, value_delimiter = ',', value_name = "CHECK")]
        only: Vec<String>,
        /// Leave these checks out.
        #[arg(long, value_delimiter = ',', value_name = "CHECK")]
        skip: Vec<String>,
        /// List findings in files below this folder only.
        #[arg(long = "in", value_name = "FOLDER")]
        within: Option<String>,
    },
    /// Lists what a file imports, and what imports it.
    Imports {
        /// The file, relative to the workspace.
        file: String,
    },
    /// Lists the checks.
    List,
}

fn main() -> ExitCode {
    let mut out = String::new();
    let result = run(&Arguments::parse(), &mut out);
    // A reader that has seen enough, such as `head`, is no error of ours.
    let _ = std::io::stdout().write_all(out.as_bytes());
    match result {
        Ok(clean) if clean => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("house: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments, out: &mut String) -> Result<bool> {
    let root = &arguments.root;
    let read = || House::read(root, &arguments.rules.clone().unwrap_or_else(|| root.join(house::rules::FOLDER)));
    match &arguments.verb {
        Verb::List => {
            for check in checks::ALL {
                writeln!(out, "{:10} {}", check.name, check.rule)?;
            }
            Ok(true)
        }
        Verb::Imports { file } => {
            imports(&read()?, file, out)?;
            Ok(true)
        }
        Verb::Check { only, skip, within } => {
            let chosen = chosen(only, skip)?;
            let house = read()?;
            let mut findings: Vec<Finding> = chosen.iter().flat_map(|check| (check.run)(&house)).collect();
            findings
                .retain(|f| within.as_ref().is_none_or(|folder| f.file.starts_with(folder) || f.text.contains(folder)));
            if arguments.json {
                let json = serde_json::json!({ "files": house.files.len(), "findings": findings });
                writeln!(out, "{}", serde_json::to_string_pretty(&json)?)?;
            } else {
                writeln!(
                    out,
                    "house: {} files, {} checks, {} findings",
                    house.files.len(),
                    chosen.len(),
                    findings.len()
                )?;
                findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
            }
            Ok(findings.is_empty())
        }
    }
}

fn chosen(only: &[String], skip: &[String]) -> Result<Vec<checks::Check>> {
    if let Some(unknown) = only.iter().chain(skip).find(|name| !checks::ALL.iter().any(|check| check.name == **name)) {
        bail!("there is no check {unknown:?}; `house list` shows them");
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    Ok(checks::ALL.iter().filter(|c| wanted(c.name) && !skip.iter().any(|s| s == c.name)).copied().collect())
}

fn imports(house: &House, file: &str, out: &mut String) -> Result<()> {
    let files = &house.tree.files;
    let id = files.iter().position(|f| f == file).with_context(|| format!("{file} belongs to no module"))?;
    for (title, forward) in [("imports", true), ("is imported by", false)] {
        writeln!(out, "{file} {title}")?;
        for ((from, to), names) in &house.references.imports {
            let (this, other) = if forward { (from, to) } else { (to, from) };
            if *this == id {
                writeln!(out, "  {}: {}", files[*other], names.keys().cloned().collect::<Vec<_>>().join(", "))?;
            }
        }
    }
    Ok(())
}
