//! The tables of operators, sessions, tokens and the audit: one file each, free functions, every statement declared by name.
//!
//! Their SQL stands once, in `tables/`. Each program runs it as two of its migrations, under the names that it gave them.

pub mod audit;
pub mod operators;
pub mod sessions;
pub mod tokens;

use refinery::{Error, Migration, Runner};

/// What makes the tables of operators, sessions and tokens. Released: never to be edited.
const OPERATORS: &str = include_str!("tables/operators.sql");
/// What makes the tables of the audit. Released: never to be edited.
const AUDIT: &str = include_str!("tables/audit.sql");

/// Adds the tables of this crate to a program's migrations.
///
/// The names are the program's own, such as `V7__operators`.
///
/// # Errors
/// A name is not the name of a migration.
pub fn with_tables(own: &Runner, operators: &str, audit: &str) -> Result<Runner, Error> {
    let mut all = own.get_migrations().clone();
    all.push(Migration::unapplied(operators, OPERATORS)?);
    all.push(Migration::unapplied(audit, AUDIT)?);
    Ok(Runner::new(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// refinery refuses to start if a migration that it ran has another checksum: these are what head offices in the field hold.
    #[test]
    fn released_tables_keep_their_checksums() {
        let all = with_tables(&Runner::new(&[]), "V7__operators", "V8__audit").unwrap();
        let found: Vec<_> = all.get_migrations().iter().map(|m| (m.version(), m.checksum())).collect();
        assert_eq!(found, [(7, 17_214_190_107_903_127_827), (8, 1_660_930_157_548_195_570)]);
    }
}
