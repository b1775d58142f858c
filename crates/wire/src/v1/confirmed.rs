//! Which terminals of a plan count as confirmed: one function for head office and branch servers.

use std::collections::{BTreeMap, BTreeSet};

use fleet_types::{Digest, ProductName, TerminalName};

use super::plan::Step;

/// Returns the terminals that confirmed every step that names them, and those without a step that have all their packages.
///
/// `is_confirmed` answers whether the newest update of a terminal for a product is confirmed with this payload, `is_complete` whether it has
/// this package. A slot's confirmation is signed and a package's is not: packages count only where no slot can.
pub fn confirmed<'a>(
    steps: &'a [Step],
    packages: &'a [Step],
    is_confirmed: impl Fn(&TerminalName, &ProductName, Digest) -> bool,
    is_complete: impl Fn(&TerminalName, &ProductName, Digest) -> bool,
) -> BTreeSet<&'a TerminalName> {
    let mut every = BTreeMap::new();
    for step in steps {
        for terminal in &step.terminals {
            *every.entry(terminal).or_insert(true) &= is_confirmed(terminal, &step.product, step.payload.sha256);
        }
    }
    let with_steps: BTreeSet<_> = every.keys().copied().collect();
    for package in packages {
        for terminal in package.terminals.iter().filter(|terminal| !with_steps.contains(terminal)) {
            *every.entry(terminal).or_insert(true) &= is_complete(terminal, &package.product, package.payload.sha256);
        }
    }
    every.into_iter().filter_map(|(terminal, every)| every.then_some(terminal)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::plan::{ArtifactRef, PayloadRef};

    fn step(product: &str, payload: u8, terminals: &[&str]) -> Step {
        let digest = Digest::new([payload; 32]);
        Step {
            terminals: terminals.iter().map(|name| name.parse().unwrap()).collect(),
            product: product.parse().unwrap(),
            version: "2.0.0".parse().unwrap(),
            manifest: digest,
            payload: PayloadRef { name: "rootfs".into(), sha256: digest, length: 1 },
            artifact: ArtifactRef {
                sha256: digest,
                length: 1,
                index_sha256: digest,
                index_length: 1,
                info_hash: "aa".repeat(20).parse().unwrap(),
            },
            downgrade: false,
        }
    }

    fn names(found: BTreeSet<&TerminalName>) -> Vec<&str> {
        found.into_iter().map(TerminalName::as_str).collect()
    }

    #[test]
    fn a_terminal_counts_once_it_confirmed_every_step_that_names_it() {
        let steps = [step("kiosk", 1, &["till-1", "till-2"]), step("till", 2, &["till-2", "till-3"])];
        let with = |done: &'static [(&str, u8)]| {
            let done = |terminal: &TerminalName, _: &ProductName, payload: Digest| {
                done.iter().any(|(name, digest)| terminal.as_str() == *name && payload == Digest::new([*digest; 32]))
            };
            names(confirmed(&steps, &[], done, |_, _, _| false))
        };
        assert_eq!(with(&[]), Vec::<&str>::new());
        assert_eq!(with(&[("till-1", 1)]), ["till-1"]);
        assert_eq!(with(&[("till-1", 2)]), Vec::<&str>::new(), "another payload is not what the plan names");
        assert_eq!(with(&[("till-2", 1)]), Vec::<&str>::new(), "one of two steps");
        assert_eq!(with(&[("till-2", 1), ("till-2", 2), ("till-3", 2)]), ["till-2", "till-3"]);
        assert_eq!(with(&[("till-9", 1)]), Vec::<&str>::new(), "a terminal that the plan does not name");
    }

    #[test]
    fn packages_count_where_no_slot_is_named() {
        let steps = [step("kiosk", 1, &["till-1"])];
        let packages = [step("tools", 7, &["till-1", "till-2", "till-3"]), step("fonts", 8, &["till-3"])];
        let with = |slot: bool, has: &'static [(&str, u8)]| {
            let complete = |terminal: &TerminalName, _: &ProductName, payload: Digest| {
                has.iter().any(|(name, digest)| terminal.as_str() == *name && payload == Digest::new([*digest; 32]))
            };
            names(confirmed(&steps, &packages, |_, _, _| slot, complete))
        };
        assert_eq!(with(false, &[("till-1", 7)]), Vec::<&str>::new(), "a package does not confirm a slot");
        assert_eq!(with(true, &[]), ["till-1"]);
        assert_eq!(with(false, &[("till-2", 7), ("till-3", 7)]), ["till-2"], "one of two packages");
        assert_eq!(with(false, &[("till-3", 7), ("till-3", 8)]), ["till-3"]);
    }
}
