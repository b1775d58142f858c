//! Which slot runs: the kernel command line is the only witness, because the bootloader wrote it for this very boot.

use fleet_types::Slot;

/// What `root=` says for each slot, such as `PARTLABEL=slot-a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRoots {
    /// For slot A.
    pub a: String,
    /// For slot B.
    pub b: String,
}

/// Why the running slot is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunningSlotError {
    /// There is no `root=`.
    #[error("the kernel command line has no root=: the bootloader's menu entry must pass the slot's root")]
    NoRoot,
    /// `root=` is neither slot's.
    #[error(
        "the kernel command line has root={found}, which is neither slot's root: check slots.a.root and slots.b.root"
    )]
    UnknownRoot {
        /// What it says, cut to 100 characters.
        found: String,
    },
    /// Both slots have one and the same root value.
    #[error("both slots have root={0}: they must differ")]
    SameRoots(String),
}

impl RunningSlotError {
    /// Its stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoRoot => "cmdline-no-root",
            Self::UnknownRoot { .. } => "cmdline-unknown-root",
            Self::SameRoots(_) => "cmdline-same-roots",
        }
    }
}

/// The slot whose root stands on the kernel command line.
///
/// As for the kernel, the last `root=` counts, and nothing after ` -- ` (that belongs to init).
///
/// # Errors
/// There is no `root=`, it is neither slot's, or both slots have the same.
pub fn running_slot(cmdline: &str, roots: &SlotRoots) -> Result<Slot, RunningSlotError> {
    if roots.a == roots.b {
        return Err(RunningSlotError::SameRoots(roots.a.clone()));
    }
    let root = parameters(cmdline)
        .take_while(|p| p != "--")
        .filter_map(|p| p.strip_prefix("root=").map(str::to_owned))
        .last()
        .ok_or(RunningSlotError::NoRoot)?;
    match root.as_str() {
        root if root == roots.a => Ok(Slot::A),
        root if root == roots.b => Ok(Slot::B),
        root => Err(RunningSlotError::UnknownRoot { found: root.chars().take(100).collect() }),
    }
}

/// The parameters as the kernel cuts them.
///
/// At white space outside double quotes, the quotes dropped.
fn parameters(cmdline: &str) -> impl Iterator<Item = String> {
    let mut rest = cmdline.chars();
    std::iter::from_fn(move || {
        let mut parameter = String::new();
        let (mut quoted, mut begun) = (false, false);
        for c in rest.by_ref() {
            match c {
                '"' => (quoted, begun) = (!quoted, true),
                c if c.is_ascii_whitespace() && !quoted => {
                    if begun {
                        return Some(parameter);
                    }
                }
                c => {
                    parameter.push(c);
                    begun = true;
                }
            }
        }
        begun.then_some(parameter)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn roots() -> SlotRoots {
        SlotRoots { a: "PARTLABEL=slot-a".into(), b: "PARTLABEL=slot-b".into() }
    }

    #[test]
    fn the_slot_is_the_one_of_the_last_root() {
        for (line, slot) in [
            ("quiet root=PARTLABEL=slot-a panic=10", Slot::A),
            ("root=PARTLABEL=slot-b\n", Slot::B),
            ("root=PARTLABEL=slot-a root=PARTLABEL=slot-b", Slot::B),
            ("\"root=PARTLABEL=slot-a\" x=\"a root=PARTLABEL=slot-b\"", Slot::A),
            ("root=PARTLABEL=slot-a -- root=PARTLABEL=slot-b", Slot::A),
        ] {
            assert_eq!(running_slot(line, &roots()), Ok(slot), "{line}");
        }
    }

    #[test]
    fn no_guess_is_made() {
        assert_eq!(running_slot("", &roots()), Err(RunningSlotError::NoRoot));
        assert_eq!(running_slot("xroot=PARTLABEL=slot-a", &roots()), Err(RunningSlotError::NoRoot));
        assert!(matches!(
            running_slot("root=PARTLABEL=slot-ab", &roots()),
            Err(RunningSlotError::UnknownRoot { found }) if found == "PARTLABEL=slot-ab"
        ));
        let same = SlotRoots { a: "x".into(), b: "x".into() };
        assert!(matches!(running_slot("root=x", &same), Err(RunningSlotError::SameRoots(_))));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(line in ".{0,200}") {
            let _ = running_slot(&line, &roots());
        }
    }
}
