//! Text that came from elsewhere, made fit for one line of a screen or a log.

/// Returns whether a character moves nothing on a screen.
///
/// Control characters (an escape sequence begins with one) and those that turn the direction of text (Unicode UAX #9) do.
pub fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns whether a character is invisible or changes the direction of text, so that names look alike.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns `text` with a space for each character that would move something on a screen, the ends of lines too.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_something_on_a_screen_becomes_a_space() {
        let hostile = "a\u{1b}[2J\u{9b}b\n\u{202e}c\u{2066}\u{feff}d\u{7f}é я 中";
        assert_eq!(printable(hostile), "a [2J b  c  d é я 中");
    }

    #[test]
    fn what_is_not_plain_and_no_control_is_invisible() {
        let all = || (0..=0x10_ffff).filter_map(char::from_u32);
        assert!(all().filter(|c| !is_plain(*c) && !c.is_control()).all(is_invisible));
        assert!("é я中-._".chars().all(|c| is_plain(c) && !is_invisible(c)));
    }
}
