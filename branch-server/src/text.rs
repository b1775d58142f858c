//! How errors become text that a log, a database or a screen does not trip on; [`service_kit::edge::chain`] makes it of
//! an error and its causes. What listeners answer is [`service_kit::server::ApiError`], one for the whole program.

pub use service_kit::server::ApiError;

/// Text that may come from elsewhere (a tracker, a daemon), fit to be stored and shown: no control characters, no
/// more than a reason may have.
pub fn presentable(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    wire::clip_reason(&clean).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_made_presentable() {
        assert_eq!(presentable("a\0b\nc"), "a b c");
        assert_eq!(presentable(&"x".repeat(5000)).len(), wire::MAX_REASON_LEN);
    }
}
