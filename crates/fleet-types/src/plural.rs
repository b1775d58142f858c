//! Counts as people read them.

use std::fmt::Display;

/// Formats a count with the noun's matching form, such as `1 key` or `2 keys`.
pub fn plural<N: Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let noun = if count == N::from(1) { one } else { many };
    format!("{count} {noun}")
}

#[cfg(test)]
mod tests {
    use super::plural;

    #[test]
    fn only_one_is_singular() {
        assert_eq!([0_u32, 1, 2].map(|n| plural(n, "key", "keys")), ["0 keys", "1 key", "2 keys"]);
    }
}
