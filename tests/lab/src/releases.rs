//! Bringing a release out, with the operator's own command line.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use fleet_types::{BranchName, ProductName, Version};
use wire::v1::fleet::{Assign, PlanIssued};
use wire::v1::releases::Release;

use crate::error::LabError;
use crate::exec::{Tool, blocking};
use crate::lab::Lab;
use crate::machine::sha256_of;
use crate::recipe::write;
use crate::shipped::Shipped;

/// What goes into a release.
#[derive(Debug, Clone)]
pub struct ReleaseSpec {
    /// The product that it is a version of; the lab's own if not said.
    pub product: Option<ProductName>,
    /// Its version.
    pub version: Version,
    /// The slot image.
    pub image: PathBuf,
    /// Its notes.
    pub notes: String,
    /// What must be installed before, as a version requirement.
    pub requires: Option<String>,
    /// The hardware models it is for; those that the lab has of its product if empty.
    pub compatible: Vec<String>,
}

impl ReleaseSpec {
    /// This image as this version.
    ///
    /// # Errors
    /// The version is none.
    pub fn new(version: &str, image: impl Into<PathBuf>) -> Result<Self, LabError> {
        let version = version.parse().map_err(|e| LabError::Options(format!("{version:?}: {e}")))?;
        let notes = format!("Version {version}, brought out by the lab");
        Ok(Self { product: None, version, image: image.into(), notes, requires: None, compatible: Vec::new() })
    }

    /// As a release of this product.
    #[must_use]
    pub fn of(self, product: &ProductName) -> Self {
        Self { product: Some(product.clone()), ..self }
    }
}

impl Lab {
    /// Hashes an image and remembers it as this version's.
    ///
    /// # Errors
    /// The image cannot be read.
    pub async fn remember(&self, version: &Version, image: &Path) -> Result<Shipped, LabError> {
        self.remember_of(&self.options.product, version, image).await
    }

    /// The same for a product.
    pub(crate) async fn remember_of(
        &self,
        product: &ProductName,
        version: &Version,
        image: &Path,
    ) -> Result<Shipped, LabError> {
        let path = image.to_owned();
        let shipped = blocking("hash an image", move || {
            let length = path.metadata().map_err(LabError::file("look at", &path))?.len();
            Ok(Shipped { sha256: sha256_of(&path, length)?, length })
        })
        .await?;
        let key = (product.clone(), version.clone());
        self.shipped.lock().unwrap_or_else(PoisonError::into_inner).insert(key, shipped);
        Ok(shipped)
    }

    /// What the lab knows of a version's image.
    pub fn shipped(&self, version: &Version) -> Option<Shipped> {
        self.shipped_of(&self.options.product, version)
    }

    /// What the lab knows of the image of a product's version.
    pub fn shipped_of(&self, product: &ProductName, version: &Version) -> Option<Shipped> {
        let key = (product.clone(), version.clone());
        self.shipped.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    /// The product of a release.
    pub(crate) fn product_of<'a>(&'a self, spec: &'a ReleaseSpec) -> &'a ProductName {
        spec.product.as_ref().unwrap_or(&self.options.product)
    }

    /// The hardware models of the lab that run a product.
    fn models_of(&self, product: &ProductName) -> Vec<String> {
        let vms = (!self.vms.is_empty()).then_some((&self.options.vm.product, &self.options.vm.model));
        let kinds = [Some((&self.options.product, &self.options.model)), vms];
        kinds.into_iter().flatten().filter(|(p, _)| *p == product).map(|(_, model)| model.to_string()).collect()
    }

    /// Runs `filial` as an administrator of head office; returns what it printed.
    ///
    /// # Errors
    /// It failed: with what it said.
    pub async fn filial<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String, LabError> {
        let tool = Tool::new(self.options.program_named("filial")?);
        // What it remembers of an upload stays in the run folder.
        let tool = tool.env("XDG_STATE_HOME", self.folder.join("operator"));
        tool.args(self.filial_access()).args(args).run_async().await
    }

    /// Runs `filial` as an administrator of a branch server, on that machine; returns what it printed.
    ///
    /// # Errors
    /// The branch does not exist; or it failed: with what it said.
    pub async fn filial_at<S: AsRef<std::ffi::OsStr>>(
        &self,
        branch: &BranchName,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String, LabError> {
        let site = self.site(branch)?;
        let tool = Tool::in_namespace(&site.namespace, self.options.program_named("filial")?);
        let authority = self.api.authority().map(|authority| authority.to_string()).unwrap_or_default();
        let tool = tool.args(["--server", &site.operators_url(), "--at", branch.as_str(), "--authority", &authority]);
        tool.arg("--token-file").arg(site.admin_token()).args(args).run_async().await
    }

    /// How `filial` is told about head office.
    pub fn filial_access(&self) -> Vec<String> {
        let token = self.admin_token_file().display().to_string();
        let mut access = vec!["--server".into(), self.api.base().to_owned(), "--token-file".into(), token];
        access.extend(self.api.authority().into_iter().flat_map(|a| ["--authority".to_owned(), a.to_string()]));
        access
    }

    /// Packs an update archive with `filial release pack`; returns its path.
    ///
    /// # Errors
    /// The image cannot be read, or packing failed.
    pub async fn pack(&self, spec: &ReleaseSpec) -> Result<PathBuf, LabError> {
        let product = self.product_of(spec);
        // Another product's may have the same version.
        let name = if *product == self.options.product {
            spec.version.to_string()
        } else {
            format!("{product}-{}", spec.version)
        };
        let folder = self.folder.join("releases").join(&name);
        let payloads = folder.join("payloads");
        std::fs::create_dir_all(&payloads).map_err(LabError::file("create", &payloads))?;
        let image = payloads.join("rootfs.img");
        if image.exists() {
            std::fs::remove_file(&image).map_err(LabError::file("remove", &image))?;
        }
        std::fs::copy(&spec.image, &image).map_err(LabError::file("copy the image to", &image))?;
        let compatible = if spec.compatible.is_empty() { self.models_of(product) } else { spec.compatible.clone() };
        let requires = spec.requires.as_ref().map(|r| format!("requires = {r:?}\n")).unwrap_or_default();
        let manifest = format!(
            "format = 1\nproduct = {:?}\nversion = \"{}\"\nmin_agent = \"0.1.0\"\n{requires}notes = {:?}\n\n[[payload]]\nname = \"rootfs\"\n\
             kind = \"slot-image\"\ncompatible = {compatible:?}\nfile = \"payloads/rootfs.img\"\n",
            product.as_str(),
            spec.version,
            spec.notes,
        );
        write(&folder.join("release.toml"), manifest)?;
        let archive = self.folder.join("releases").join(format!("{name}.upd"));
        let tool = Tool::new(self.options.program_named("filial")?).args(["release", "pack"]).arg(&folder);
        tool.arg("--out").arg(&archive).run_async().await?;
        Ok(archive)
    }

    /// Packs and uploads a release with `filial`.
    ///
    /// # Errors
    /// Packing or uploading failed.
    pub async fn pack_and_upload(&self, spec: &ReleaseSpec) -> Result<(), LabError> {
        let archive = self.pack(spec).await?;
        self.remember_of(self.product_of(spec), &spec.version, &spec.image).await?;
        self.filial([Path::new("release"), Path::new("upload"), Path::new("--no-wait"), &archive]).await.map(drop)
    }

    /// The release of a version as head office has it.
    ///
    /// # Errors
    /// Head office cannot say.
    pub async fn release(&self, version: &Version) -> Result<Option<Release>, LabError> {
        self.api.release(&self.options.product, version).await
    }

    /// It will not be published by itself any more.
    pub(crate) async fn rejected(&self, what: &str, release: &Release) -> LabError {
        let why = format!("it is {}: {}", release.state, checklist(release).join("; "));
        LabError::Hopeless { what: what.to_owned(), why, state: self.describe().await }
    }

    /// Assigns a version to a branch.
    ///
    /// # Errors
    /// Head office refuses.
    pub async fn assign(&self, branch: &BranchName, version: &Version) -> Result<PlanIssued, LabError> {
        self.assign_of(&self.options.product, branch, version).await
    }

    /// Assigns a product's version to a branch.
    ///
    /// # Errors
    /// Head office refuses.
    pub async fn assign_of(
        &self,
        product: &ProductName,
        branch: &BranchName,
        version: &Version,
    ) -> Result<PlanIssued, LabError> {
        let product = product.clone();
        self.api.assign(&Assign { branch: branch.clone(), product, version: version.clone(), downgrade: false }).await
    }

    /// Assigns a version to every branch.
    ///
    /// # Errors
    /// Head office refuses.
    pub async fn assign_all(&self, version: &Version) -> Result<(), LabError> {
        for branch in self.branches() {
            self.assign(&branch, version).await?;
        }
        Ok(())
    }
}

/// The checklist's lines that are not a pass, or all if every one passed.
fn checklist(release: &Release) -> Vec<String> {
    let findings = release.report.iter().flat_map(|r| &r.findings);
    let lines = |f: &wire::v1::releases::Finding| format!("{} {}: {} {}", f.id, f.verdict, f.cause, f.remedy);
    let reason = release.reasons.iter().map(wire::Reason::sentence);
    reason.chain(findings.filter(|f| f.verdict != wire::v1::releases::Verdict::Pass).map(lines)).collect()
}
