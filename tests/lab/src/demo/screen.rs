//! What a person sees: lines that stay, and below them a few that are redrawn. Plain lines where it is no terminal.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Wider lines are cut: a line that wraps would break redrawing.
const WIDTH: usize = 110;

/// Standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    fancy: bool,
    /// How many lines at the bottom will be redrawn.
    drawn: Mutex<usize>,
}

impl Screen {
    pub(crate) fn new(plain: bool) -> Self {
        Self { fancy: !plain && std::io::stdout().is_terminal(), drawn: Mutex::new(0) }
    }

    /// Whether lines are redrawn.
    pub(crate) fn is_fancy(&self) -> bool {
        self.fancy
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A closed pipe is no reason to end a lab.
    fn write(text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn erase(drawn: &mut usize) -> String {
        let text = if *drawn > 0 { format!("\x1b[{drawn}A\x1b[J") } else { String::new() };
        *drawn = 0;
        text
    }

    /// A line that stays.
    fn lasting(&self, plain: &str, fancy: &str) {
        let mut drawn = self.lock();
        let text = if self.fancy { format!("{}{fancy}\n", Self::erase(&mut drawn)) } else { format!("{plain}\n") };
        Self::write(&text);
    }

    pub(crate) fn title(&self, text: &str) {
        self.lasting(&format!("\n{text}"), &format!("\n\x1b[1m{text}\x1b[0m"));
    }

    pub(crate) fn line(&self, text: &str) {
        self.lasting(&format!("  {text}"), &format!("  {text}"));
    }

    /// Something that is done, and how long it took.
    pub(crate) fn done(&self, text: &str, took: Option<Duration>) {
        let took = took.map(|t| format!("  {:.1} s", t.as_secs_f64())).unwrap_or_default();
        self.lasting(&format!("  ok {text}{took}"), &format!("  \x1b[32m✓\x1b[0m {text}\x1b[2m{took}\x1b[0m"));
    }

    /// Something that is not as it should be.
    pub(crate) fn bad(&self, text: &str) {
        self.lasting(&format!("  !! {text}"), &format!("  \x1b[31m✗\x1b[0m {text}"));
    }

    /// Something by the way.
    pub(crate) fn aside(&self, text: &str) {
        self.lasting(&format!("     {text}"), &format!("    \x1b[2m{text}\x1b[0m"));
    }

    /// Lines that are redrawn by the next call; nothing where lines cannot be redrawn.
    pub(crate) fn progress(&self, lines: &[String]) {
        if !self.fancy {
            return;
        }
        let mut drawn = self.lock();
        let mut text = Self::erase(&mut drawn);
        for line in lines {
            text += &format!("  {}\n", cut(line, WIDTH));
        }
        *drawn = lines.len();
        Self::write(&text);
    }

    /// What was drawn last stays.
    pub(crate) fn settle(&self) {
        *self.lock() = 0;
    }
}

/// Cuts a line to so many visible characters; escape sequences do not count.
fn cut(line: &str, width: usize) -> String {
    let (mut out, mut visible, mut escape) = (String::new(), 0, false);
    for c in line.chars() {
        escape |= c == '\x1b';
        if escape {
            out.push(c);
            escape = !c.is_ascii_alphabetic();
        } else if visible < width {
            out.push(c);
            visible += 1;
        }
    }
    out
}

/// A bar of `width` characters.
pub(crate) fn bar(done: u64, total: u64, width: usize) -> String {
    let filled = usize::try_from(done.min(total) * width as u64 / total.max(1)).unwrap_or(width);
    format!("{}{}", "━".repeat(filled), "┄".repeat(width - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_take_no_room() {
        assert_eq!(cut("\x1b[32mabc\x1b[0mdef", 4), "\x1b[32mabc\x1b[0md");
        assert_eq!(cut("филиал", 3), "фил");
    }

    #[test]
    fn bars_are_as_wide_as_asked() {
        for (done, total) in [(0, 0), (0, 5), (3, 5), (5, 5), (9, 5)] {
            assert_eq!(bar(done, total, 20).chars().count(), 20);
        }
    }
}
