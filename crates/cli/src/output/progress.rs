//! Progress bars on standard error; hidden under `--json` or where it is not a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const TEMPLATE: &str = "{prefix:>9} [{bar:30}] {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left {msg}";

/// A bar over `total` bytes.
pub(crate) fn bytes(what: &'static str, total: u64, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(total), target).with_prefix(what);
    // The template is a constant; the default style is the fallback.
    match ProgressStyle::with_template(TEMPLATE) {
        Ok(style) => bar.with_style(style.progress_chars("##.")),
        Err(_) => bar,
    }
}
