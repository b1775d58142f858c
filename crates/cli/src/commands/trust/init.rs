//! `filial trust init`: creates every key of a fleet and the first metadata.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::TimeDelta;
use fleet_types::{ProductName, plural};
use serde_json::json;
use trust::repository::{DelegationSpec, Lifetimes, Online, Repository, RoleName, RootSpec, store};
use trust::{KeySet, SigningKey};

use crate::args::{Global, InitArgs};
use crate::failure::Failure;
use crate::files::save;
use crate::output::answer;

/// A role's private keys and the key set that they form.
struct Holders {
    keys: Vec<SigningKey>,
    set: KeySet,
}

pub(super) fn run(global: &Global, args: &InitArgs) -> Result<(), Failure> {
    let folder = args.folder.as_path();
    check(args)?;
    let (offline, online) = (folder.join("offline"), folder.join("online"));
    for new in [&offline, &online] {
        std::fs::create_dir_all(new).map_err(|source| Failure::Write { path: new.clone(), source })?;
    }
    let root = make(&offline, "root", args.root_keys, args.root_threshold)?;
    let targets = make(&offline, "targets", 1, 1)?;
    let [snapshot, timestamp, derived, plan] =
        ["snapshot", "timestamp", "derived", "plan"].map(|role| one(&online, role));
    let (snapshot, timestamp, derived, plan) = (snapshot?, timestamp?, derived?, plan?);
    let mut products = BTreeMap::new();
    for product in &args.product {
        let place = if args.online_releases { &online } else { &offline };
        let name = format!("product-{product}");
        products.insert(product.clone(), make(place, &name, args.release_keys, args.release_threshold)?);
    }
    let now = super::files::now();
    let later = |days: u32| now + TimeDelta::days(i64::from(days));

    let mut first = Repository::propose_first_root(&RootSpec {
        root: root.set.clone(),
        targets: targets.set.clone(),
        snapshot: snapshot.set.clone(),
        timestamp: timestamp.set.clone(),
        expires: later(args.root_days),
    })?;
    root.keys.iter().try_for_each(|key| first.sign(key))?;
    let mut repository = Repository::begin(&first)?;
    let mut delegations = repository.propose_delegations(
        &DelegationSpec {
            products: products.iter().map(|(product, holders)| (product.clone(), holders.set.clone())).collect(),
            derived: derived.set.clone(),
            plan: plan.set.clone(),
            expires: later(args.days),
        },
        now,
    )?;
    targets.keys.iter().try_for_each(|key| delegations.sign(key))?;
    repository.accept(&delegations)?;
    let mut empty = |role: RoleName, holders: &Holders| -> Result<(), Failure> {
        let mut proposal = repository.propose(&role, &[], now, later(args.days))?;
        holders.keys.iter().try_for_each(|key| proposal.sign(key))?;
        Ok(repository.accept(&proposal)?)
    };
    for (product, holders) in &products {
        empty(RoleName::Product(product.clone()), holders)?;
    }
    empty(RoleName::Derived, &derived)?;
    empty(RoleName::Plan, &plan)?;
    let (s, t): (Vec<_>, Vec<_>) = (snapshot.keys.iter().collect(), timestamp.keys.iter().collect());
    repository.publish(Online { snapshot: &s, timestamp: &t }, now, Lifetimes::default())?;

    // The root comes last: once it exists, everything else does.
    store::write(&folder.join("metadata"), &repository)?;
    save(&folder.join("root.json"), repository.root_file())?;
    done(global, args, &repository)
}

fn check(args: &InitArgs) -> Result<(), Failure> {
    let used = std::fs::read_dir(&args.folder).is_ok_and(|mut entries| entries.next().is_some());
    if used {
        let sentence = format!("{} exists and is not empty", args.folder.display());
        return Err(Failure::said(sentence, "Give a new folder; existing keys are never overwritten."));
    }
    for (what, keys, threshold) in
        [("root", args.root_keys, args.root_threshold), ("release", args.release_keys, args.release_threshold)]
    {
        if threshold > keys {
            let signatures = plural(threshold, "signature", "signatures");
            let held = plural(keys, &format!("{what} key"), &format!("{what} keys"));
            let sentence = format!("{signatures} cannot come from {held}");
            return Err(Failure::said(sentence, format!("Raise --{what}-keys or lower --{what}-threshold.")));
        }
    }
    Ok(())
}

fn make(folder: &Path, name: &str, count: u32, threshold: u32) -> Result<Holders, Failure> {
    let key = |number: u32| SigningKey::create(&folder.join(format!("{name}-{number}.pem")));
    let keys = (1..=count).map(key).collect::<Result<Vec<_>, _>>()?;
    let public: Vec<_> = keys.iter().map(SigningKey::public).collect();
    Ok(Holders { set: KeySet::new(&public, threshold)?, keys })
}

fn one(folder: &Path, name: &str) -> Result<Holders, Failure> {
    let key = SigningKey::create(&folder.join(format!("{name}.pem")))?;
    Ok(Holders { set: KeySet::one(key.public()), keys: vec![key] })
}

fn done(global: &Global, args: &InitArgs, repository: &Repository) -> Result<(), Failure> {
    let folder = args.folder.display();
    let products: Vec<&ProductName> = args.product.iter().collect();
    let value = json!({ "folder": args.folder, "products": products, "inspection": repository.inspect()? });
    answer(global.json, &value, |_| {
        let releases = if args.online_releases {
            "  Release keys are in online/: head office signs the releases that it approves.\n".to_owned()
        } else {
            format!(
                "  A release needs signatures by {} of {} keys in offline/product-*.pem: `filial release sign`.\n",
                args.release_threshold, args.release_keys
            )
        };
        format!(
            "{folder}: created\n\
             \x20 Move offline/ away now, each key to a different place. Any change needs {} of {} root keys; if fewer are left,\n\
             \x20 every machine must be provisioned again.\n\
             {releases}\
             \x20 Copy online/ and metadata/ to head office, and root.json to every machine.",
            args.root_threshold, args.root_keys
        )
    })
}
