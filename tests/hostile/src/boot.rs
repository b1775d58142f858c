//! What a terminal's own disk may hold after an accident: environment blocks and command lines.

use crate::case::{Hostile, Reader};

fn block(lines: &str) -> Vec<u8> {
    let mut block = format!("# GRUB Environment Block\n{lines}").into_bytes();
    block.resize(1024, b'#');
    block
}

/// A block that is taken.
pub fn good_block() -> Vec<u8> {
    block("filial_default=A\nfilial_trial=B\nfilial_trial_left=3\nsaved_entry=0\n")
}

pub(crate) fn hostile() -> Vec<Hostile> {
    let one = |name, code, bytes: Vec<u8>| Hostile::new(Reader::Block, name, code, bytes);
    let line = |name, code, line: &str| Hostile::new(Reader::CommandLine, name, code, line);
    let state = |default: &str, trial: &str, left: &str| {
        block(&format!("filial_default={default}\nfilial_trial={trial}\nfilial_trial_left={left}\n"))
    };
    let mut endless = good_block();
    endless[25..].fill(b'\\');
    let mut zeros = good_block();
    zeros[700..].fill(0);
    vec![
        one("block-empty", "block-length", Vec::new()),
        one("block-cut", "block-length", good_block()[..1023].to_vec()),
        one("block-too-long", "block-length", [good_block(), vec![b'#']].concat()),
        one("block-of-zeros", "block-signature", vec![0; 1024]),
        one("block-of-junk", "block-signature", (0..1024u32).map(|i| (i * 37 % 251) as u8).collect()),
        one("block-half-zeros", "block-cut-off", zeros),
        one("block-of-backslashes", "block-cut-off", endless),
        one("block-line-without-a-name", "block-line", block("filial_default\n")),
        one("block-without-variables", "block-variable-missing", block("")),
        one("block-variable-twice", "block-variable-twice", block("filial_default=A\nfilial_default=B\n")),
        one("block-slot-unknown", "block-variable-value", state("C", "", "0")),
        one("block-trial-of-the-default", "block-variable-value", state("A", "A", "3")),
        one("block-trial-for-ever", "block-variable-value", state("A", "B", "255")),
        one("block-trial-left-negative", "block-variable-value", state("A", "B", "-1")),
        one("block-value-of-zeros", "block-variable-value", state("\0", "", "0")),
        line("command-line-empty", "cmdline-no-root", ""),
        line("command-line-root-for-init", "cmdline-no-root", "quiet -- root=PARTLABEL=slot-a"),
        line("command-line-root-in-quotes-only", "cmdline-no-root", "x=\" root=PARTLABEL=slot-a"),
        line("command-line-of-another-root", "cmdline-unknown-root", "root=PARTLABEL=slot-a root=/dev/sdz"),
        line("command-line-of-a-megabyte", "cmdline-unknown-root", &format!("root={}", "x".repeat(1 << 20))),
    ]
}
