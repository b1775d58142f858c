//! Small packages: a tar by hand, so that hostile ones can be made too, and a release that delivers it.

use terminal_agent::model::package::Package;
use terminal_agent::packages::place::Place;
use wire::v1::plan::Step;
use wire::v1::reports::{PackageReport, Report};

use super::Rig;
use super::release::TestRelease;

/// A member: its path, its type as in a header, its mode, its content.
pub type Entry<'a> = (&'a str, u8, u32, &'a [u8]);

pub fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, kind, mode, content) in entries {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].copy_from_slice(b"        ");
        header[156] = *kind;
        if matches!(kind, b'1' | b'2') {
            header[157..168].copy_from_slice(b"/etc/passwd");
        }
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend(header);
        tar.extend(*content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// A program, a text that says the version, and enough beside it that it takes several segments.
pub fn tools(version: &str) -> TestRelease {
    let filling: Vec<u8> = super::release::noise(version.len() as u64, 200_000);
    let text = format!("tools {version}\n");
    of_tar(
        version,
        tar(&[
            ("bin/", b'5', 0o755, b""),
            ("bin/tool", b'0', 0o755, b"#!/bin/sh\nexit 3\n"),
            ("share/filling", b'0', 0o600, &filling),
            ("version", b'0', 0o644, text.as_bytes()),
        ]),
    )
}

pub fn of_tar(version: &str, tar: Vec<u8>) -> TestRelease {
    let mut release = TestRelease::of_image(version, "", tar);
    let manifest = String::from_utf8(release.manifest).unwrap();
    let manifest = manifest.replace("product = \"kiosk\"", "product = \"tools\"");
    let manifest = manifest.replace("name = \"rootfs\"", "name = \"tools\"\nrun = [\"./bin/tool\"]");
    release.manifest = manifest.replace("slot-image", "package").into_bytes();
    release.payload.name = "tools".into();
    release
}

pub fn entry(release: &TestRelease) -> Step {
    Step { product: "tools".parse().unwrap(), ..release.step() }
}

impl Rig {
    /// A newer plan that names these packages and no others.
    pub fn offer_packages(&self, releases: &[&TestRelease]) {
        let entries: Vec<Step> = releases.iter().map(|r| entry(r)).collect();
        self.world.lock().releases.extend(releases.iter().map(|r| (*r).clone()));
        self.world.edit_plan(|plan| {
            plan.serial += 1;
            plan.packages = entries;
        });
    }

    pub fn package(&self, version: &str) -> Option<Package> {
        self.journal().packages.get(&format!("tools/{version}/tools")).cloned()
    }

    pub fn place(&self, version: &str) -> Place {
        Place::of(&self.settings.paths.data_dir, &self.package(version).expect("not in the journal"))
    }

    pub fn is_complete(&self, version: &str) -> bool {
        self.package(version).is_some_and(|p| p.complete)
    }

    pub fn until_complete(&mut self, version: &str) {
        self.until_that(&format!("tools {version} complete"), |rig| rig.is_complete(version));
    }

    /// What the branch server was told of packages.
    pub fn told(&self) -> Vec<PackageReport> {
        let package = |n: &wire::v1::reports::Numbered| match &n.report {
            Report::Package { package, .. } => Some(package.clone()),
            _ => None,
        };
        self.world.lock().reports.iter().filter_map(package).collect()
    }

    /// The files under the folder of packages, by their paths there.
    pub fn files(&self) -> Vec<String> {
        let root = Place::root(&self.settings.paths.data_dir);
        let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path.strip_prefix(&root).unwrap().display().to_string());
                }
            }
        }
        files.sort();
        files
    }
}
