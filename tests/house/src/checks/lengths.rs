//! Files that grew too long.

use super::test_files::is_test;
use crate::{Finding, House};

const LIMIT: usize = 400;
const TEST_LIMIT: usize = 600;
const ENDINGS: [&str; 5] = [".rs", ".py", ".sh", ".ts", ".tsx"];

pub(super) fn check(house: &House) -> Vec<Finding> {
    let sources = house.files.iter().filter(|file| ENDINGS.iter().any(|ending| file.ends_with(ending)));
    sources
        .filter_map(|file| {
            let lines = house.text(file).lines().count();
            let limit = if is_test(file) { TEST_LIMIT } else { LIMIT };
            let text = format!("{lines} lines, more than {limit}; split it by meaning");
            (lines > limit).then(|| Finding { check: "lengths", file: file.clone(), line: 0, text })
        })
        .collect()
}
