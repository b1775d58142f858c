//! What a person gives a new terminal on a stick: where its branch server is, by what it enrols, whom it believes.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use fleet_types::TerminalRef;

use crate::error::LabError;
use crate::exec::Tool;
use crate::recipe::write;
use crate::sites::{create_dir, write_secret};

use super::options::VmOptions;

/// By this name the terminal knows the stick.
const LABEL: &str = "FILIAL-PROV";
/// Its size in KiB.
const SIZE: &str = "4096";
/// Where the terminal keeps what was on it.
const KEPT: &str = "/var/lib/filial-provision";

/// What is particular to one terminal.
#[derive(Debug)]
pub(crate) struct Particulars<'a> {
    pub(crate) terminal: &'a TerminalRef,
    pub(crate) address: Ipv4Addr,
    pub(crate) branch_url: &'a str,
    pub(crate) join_token: &'a Path,
    pub(crate) root: &'a Path,
}

/// Writes the files into `folder` and makes `medium` of them.
pub(crate) fn make(folder: &Path, medium: &Path, own: &Particulars<'_>, options: &VmOptions) -> Result<(), LabError> {
    create_dir(folder)?;
    let file = |name: &str| folder.join(name);
    let read = |path: &Path| std::fs::read_to_string(path).map_err(LabError::file("read", path));
    write(&file("terminal.toml"), as_windows(&settings(own, options)))?;
    write(&file("10-lan.network"), as_windows(&network(own.address)))?;
    write_secret(&file("join-token"), &as_windows(&read(own.join_token)?))?;
    write(&file("root.json"), as_windows(&read(own.root)?))?;
    let mut names = vec!["terminal.toml", "10-lan.network", "join-token", "root.json"];
    if let Some(seconds) = options.trial_timer_seconds {
        write(&file("trial-deadline"), format!("{seconds}\n"))?;
        names.push("trial-deadline");
    }
    if medium.exists() {
        std::fs::remove_file(medium).map_err(LabError::file("remove", medium))?;
    }
    Tool::new("mkfs.vfat").args(["-n", LABEL, "-C"]).arg(medium).arg(SIZE).run()?;
    let files: Vec<PathBuf> = names.into_iter().map(file).collect();
    Tool::new("mcopy").args(["-n", "-i"]).arg(medium).args(files).arg("::/").run().map(drop)
}

/// As an editor of Windows saves it, which is what many of those people use.
fn as_windows(text: &str) -> String {
    format!("\u{feff}{}", text.replace('\n', "\r\n"))
}

/// Everything else is as the image has it.
fn settings(own: &Particulars<'_>, options: &VmOptions) -> String {
    format!(
        "[branch]\nurl = {:?}\n\n[trust]\nroot = \"{KEPT}/root.json\"\n\n\
         [identity]\nname = {:?}\nmodel = {:?}\n\n[helper]\nbranch = {:?}\n\n[boot]\ntrial_attempts = {}\n\n{}",
        own.branch_url,
        own.terminal.terminal.as_str(),
        options.model.as_str(),
        own.terminal.branch.as_str(),
        options.trial_attempts,
        options.agent,
    )
}

/// One link, no default route (systemd.network(5)).
fn network(address: Ipv4Addr) -> String {
    format!(
        "[Match]\nType=ether\n\n[Network]\nAddress={address}/24\nDHCP=no\nLinkLocalAddressing=no\n\
         IPv6AcceptRA=no\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_holds_what_a_terminal_needs() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write(&path("token"), "a-token\n").unwrap();
        write(&path("root"), "{}").unwrap();
        let own = Particulars {
            terminal: &"branch-1/vm-1".parse().unwrap(),
            address: Ipv4Addr::new(10, 78, 1, 171),
            branch_url: "https://10.78.1.1:7004",
            join_token: &path("token"),
            root: &path("root"),
        };
        let options = VmOptions { trial_timer_seconds: Some(120), ..VmOptions::new().unwrap() };
        // Twice: a lab's folder may hold an earlier one.
        for _ in 0..2 {
            make(&path("files"), &path("medium"), &own, &options).unwrap();
        }
        let said = Tool::new("mdir").args(["-b", "-i"]).arg(path("medium")).arg("::/").run().unwrap();
        let mut names: Vec<_> = said.lines().map(|l| l.trim_start_matches("::/")).collect();
        names.sort_unstable();
        assert_eq!(names, ["10-lan.network", "join-token", "root.json", "terminal.toml", "trial-deadline"]);
        let label = Tool::new("mlabel").args(["-s", "-i"]).arg(path("medium")).arg("::").run().unwrap();
        assert!(label.contains(LABEL), "{label}");
        let read = |name: &str| Tool::new("mtype").arg("-i").arg(path("medium")).arg(format!("::/{name}")).run();
        assert!(read("10-lan.network").unwrap().contains("\nAddress=10.78.1.171/24\r\n"));
        assert_eq!(read("trial-deadline").unwrap(), "120\n");
        let settings = read("terminal.toml").unwrap();
        for line in
            ["url = \"https://10.78.1.1:7004\"", "name = \"vm-1\"", "branch = \"branch-1\"", "trial_attempts = 2"]
        {
            assert!(settings.contains(line), "{line} is not in\n{settings}");
        }
    }
}
