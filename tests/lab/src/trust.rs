//! Who may say what in the lab: keys and metadata by the operator's own command, and the root for every machine.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::error::LabError;
use crate::exec::{Tool, blocking};
use crate::lab::Lab;
use crate::sites::root_of;

impl Lab {
    /// What `filial trust init` made: `metadata/`, and `online/` and `offline/` with every key.
    pub fn trust_folder(&self) -> PathBuf {
        self.head_office.trust()
    }

    /// As the person does who founds a fleet: every key and the first metadata, of which head office gets what is online (the
    /// lab is a small shop: release keys too) and every machine the root.
    pub(crate) async fn make_trust(&self) -> Result<(), LabError> {
        let begun = Instant::now();
        let trust = self.head_office.trust();
        let mut init = Tool::new(self.options.program_named("filial")?).args(["trust", "init"]).arg(&trust);
        let of_vms = Some(&self.options.vm.product).filter(|p| !self.vms.is_empty() && **p != self.options.product);
        for product in std::iter::once(&self.options.product).chain(&self.options.more_products).chain(of_vms) {
            init = init.args(["--product", product.as_str()]);
        }
        init.arg("--online-releases").run_async().await?;
        let root = trust.join("root.json");
        let branches = self.branches.iter().map(|(_, site)| site.folder.clone());
        let machines: Vec<_> = branches.chain(self.terminals.values().map(|t| t.machine.folder.clone())).collect();
        blocking("provision the root", move || machines.iter().try_for_each(|folder| copy(&root, &root_of(folder))))
            .await?;
        self.options.tell_done("trust: keys, first metadata, a root for every machine", begun);
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), LabError> {
    std::fs::copy(from, to).map(drop).map_err(LabError::file("copy the root to", to))
}
