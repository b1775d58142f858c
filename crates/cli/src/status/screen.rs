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

    /// Replaces the screen's content; `note` stays visible below whatever fits of `text`.
    pub(crate) fn draw(&self, text: &str, note: &str) -> Result<(), Failure> {
        let frame = frame(text, note, self.size());
        output::write(&frame).map_err(Failure::Output)
    }
}

/// Renders `text` for a screen of this size.
///
/// Starts at the top left corner and clears each line's end and the rest of the screen, which avoids flicker.
fn frame(text: &str, note: &str, (columns, rows): (usize, usize)) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let note = wrapped(note, columns);
    let rows = rows.saturating_sub(note.len());
    let shown = if lines.len() < rows { lines.len() } else { rows.saturating_sub(2) };
    let mut out = String::from("\x1b[H");
    for line in &lines[..shown] {
        out.extend(line.chars().take(columns));
        out.push_str("\x1b[K\r\n");
    }
    if shown < lines.len() {
        out.push_str(&format!("… and {} more lines\x1b[K", lines.len() - shown));
        if !note.is_empty() {
            out.push_str("\r\n");
        }
    }
    // No line end after the last: it would scroll a full screen.
    out.push_str(&note.join("\x1b[K\r\n"));
    if !note.is_empty() {
        out.push_str("\x1b[K");
    }
    out.push_str("\x1b[J");
    out
}

/// The lines of a sentence, broken at spaces where possible.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + length <= columns => line.extend([" ", word]),
            _ => {
                let characters: Vec<char> = word.chars().collect();
                lines.extend(characters.chunks(columns.max(1)).map(|piece| piece.iter().collect::<String>()));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_never_scrolls_the_screen() {
        let text = "0123456789\n".repeat(50);
        let frame = frame(&text, "", (5, 10));
        assert_eq!(frame.matches("\r\n").count(), 8);
        assert!(frame.contains("01234\x1b[K") && !frame.contains("012345"));
        assert!(frame.contains("… and 42 more lines"));
        assert_eq!(super::frame("a\nb\n", "", (5, 10)), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
    }

    #[test]
    fn a_note_is_whole_below_the_text_on_any_screen() {
        let text = "0123456789\n".repeat(50);
        let frame = frame(&text, "a server does not answer", (8, 10));
        let shown = frame.replace("\x1b[K", "").replace("\x1b[H", "").replace("\x1b[J", "");
        let lines: Vec<&str> = shown.split("\r\n").collect();
        assert_eq!(lines[lines.len() - 3..], ["a server", "does not", "answer"], "{shown}");
        assert_eq!(lines.len(), 9);
        assert_eq!(wrapped("0123456789", 4), ["0123", "4567", "89"]);
        assert_eq!(super::frame("a\n", "b", (5, 10)), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }
}
