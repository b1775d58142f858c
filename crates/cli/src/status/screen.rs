//! Draws in place on a terminal with plain ANSI sequences; nothing to restore afterwards.

use std::io::IsTerminal as _;

use service_kit::output;

use crate::failure::Failure;

/// A terminal on standard output.
#[derive(Debug)]
pub(crate) struct Screen;

impl Screen {
    /// Returns the terminal, if standard output is one.
    pub(crate) fn find() -> Option<Self> {
        std::io::stdout().is_terminal().then_some(Self)
    }

    /// Returns the width in columns; windows change, so it is read each time.
    pub(crate) fn width(&self) -> usize {
        self.size().0
    }

    fn size(&self) -> (usize, usize) {
        match rustix::termios::tcgetwinsize(std::io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => (80, 24),
        }
    }

    /// Replaces the screen's content.
    pub(crate) fn draw(&self, text: &str) -> Result<(), Failure> {
        let frame = frame(text, self.size());
        output::write(&frame).map_err(Failure::Output)
    }
}

/// Renders `text` for a screen of this size.
///
/// Starts at the top left corner and clears each line's end and the rest of the screen, which avoids flicker.
fn frame(text: &str, (columns, rows): (usize, usize)) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = if lines.len() < rows { lines.len() } else { rows.saturating_sub(2) };
    let mut out = String::from("\x1b[H");
    for line in &lines[..shown] {
        out.extend(line.chars().take(columns));
        out.push_str("\x1b[K\r\n");
    }
    if shown < lines.len() {
        out.push_str(&format!("… and {} more lines\x1b[K", lines.len() - shown));
    }
    out.push_str("\x1b[J");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_never_scrolls_the_screen() {
        let text = "0123456789\n".repeat(50);
        let frame = frame(&text, (5, 10));
        assert_eq!(frame.matches("\r\n").count(), 8);
        assert!(frame.contains("01234\x1b[K") && !frame.contains("012345"));
        assert!(frame.contains("… and 42 more lines"));
        assert_eq!(super::frame("a\nb\n", (5, 10)), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
    }
}
