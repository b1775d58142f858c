//! The virtual machine's part of the demonstration: its own release, through a real bootloader.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use lab::{Glimpse, Lab, LabError, ReleaseSpec, Report};

use super::board::Board;
use super::screen::Screen;
use super::shared::{DEADLINE, not_served, program, summary};

/// What it starts with and what it gets, as `make image` left them.
const TO: &str = "vm-v2";

/// Prints how to watch the virtual machines.
pub(crate) fn announce(lab: &Lab, screen: &Screen) -> Result<(), LabError> {
    for terminal in lab.vms() {
        let name = lab.folder().file_name().unwrap_or_default().to_string_lossy().into_owned();
        screen.line(&format!("{terminal:<16} tail -c +1 -f {}", lab.console(&terminal)?.display()));
        screen.line(&format!("to type there    {} console --name {name} {terminal}", program(lab, "lab")));
    }
    Ok(())
}

/// Publishes the virtual machine's release and verifies the machine.
pub(crate) async fn roll_out(lab: &Lab, screen: &Arc<Screen>) -> anyhow::Result<Report> {
    let image: PathBuf =
        lab::debian_image(TO).context("The virtual machine's images are missing. Build them with `make image`.")?;
    let version = lab::image_version(&image)?.to_string();
    let product = &lab.options().vm.product;
    let spec = ReleaseSpec::new(&version, image)?.of(product);
    screen.title(&format!("Release {version} of {product} for the virtual machine, with kernel and bootloader"));
    let mut board = Board::new(screen, lab);
    let run = tokio::select! {
        run = lab.roll_out(&spec, DEADLINE, |glimpse: Glimpse<'_>| board.show(&glimpse)) => run?,
        failed = lab::serve(lab) => return Err(not_served(failed)),
    };
    screen.settle();
    let report = lab.report(&run).await?;
    summary(&report, screen, lab);
    Ok(report)
}
