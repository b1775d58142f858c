//! What each role may sign: payloads, artifacts, delegations, each in its own paths only.

use std::collections::BTreeSet;

use tough::schema::{PathSet, Targets};

use super::names::{RoleName, SignedArtifact, SignedPayload};
use super::schema;
use crate::refusal::{Refusal, Why, refuse};

/// Returns everything that a delegated role signs; refuses what it may not sign.
pub(crate) fn content(
    role: &RoleName,
    targets: Option<&Targets>,
) -> Result<(BTreeSet<SignedPayload>, BTreeSet<SignedArtifact>), Refusal> {
    let (mut payloads, mut artifacts) = (BTreeSet::new(), BTreeSet::new());
    for (name, target) in targets.into_iter().flat_map(|t| &t.targets) {
        match role {
            RoleName::Product(product) => {
                let payload = SignedPayload::from_target(name, target)?;
                if payload.product != *product {
                    return refuse(Why::OutOfPath, format!("Role {role} may not sign {}.", payload.path()));
                }
                payloads.insert(payload);
            }
            RoleName::Derived => {
                artifacts.insert(SignedArtifact::from_target(name, target)?);
            }
            _ => return refuse(Why::OutOfPath, format!("Role {role} may not sign targets.")),
        }
    }
    Ok((payloads, artifacts))
}

/// Checks that the top level signs no targets and delegates each role its own pattern.
pub(crate) fn check_delegations(targets: &Targets) -> Result<(), Refusal> {
    content(&RoleName::Targets, Some(targets))?;
    let delegations = schema::delegations(targets);
    let mut seen = BTreeSet::new();
    for found in &delegations.roles {
        let role: RoleName = found.name.parse()?;
        let pattern = role.pattern().filter(|_| role.is_delegated());
        let exactly = match &found.paths {
            PathSet::Paths(paths) => paths.len() == 1 && pattern.as_deref() == paths.first().map(|p| p.value()),
            PathSet::PathHashPrefixes(_) => false,
        };
        if !exactly || !found.terminating || !seen.insert(role.clone()) {
            return refuse(Why::OutOfPath, format!("Role {role} must be delegated once, for exactly its own paths."));
        }
        schema::delegates(&delegations, &role)?;
    }
    for role in [RoleName::Derived, RoleName::Plan] {
        if !seen.contains(&role) {
            return refuse(Why::ProposalContent, format!("Role {role} is not delegated."));
        }
    }
    Ok(())
}

/// Returns the roles that a top-level targets file delegates.
pub(crate) fn delegated_roles(targets: &Targets) -> Result<Vec<RoleName>, Refusal> {
    schema::delegations(targets).roles.iter().map(|r| r.name.parse()).collect()
}

/// The refusal of a role signed by too few holders.
pub(crate) fn unsigned(role: &RoleName) -> impl Fn(tough::schema::Error) -> Refusal {
    move |e| Refusal::new(Why::MetadataSignature, format!("Role {role} is not signed by enough of its holders: {e}."))
}
