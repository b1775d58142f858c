//! Names of roles and of the targets they sign.

use std::fmt;
use std::str::FromStr;

use fleet_types::{Digest, InfoHash, ProductName, Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use tough::TargetName;
use tough::schema::{Hashes, Target};

use crate::refusal::{Refusal, Why, refuse};

/// A role.
///
/// As text: `root`, `targets`, `snapshot`, `timestamp`, `product-NAME`, `derived`, `plan`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleName {
    /// Which keys hold the other top-level roles. Offline, threshold.
    Root,
    /// Which keys hold each product's role, `derived` and `plan`. Offline.
    Targets,
    /// Which versions belong together. Online.
    Snapshot,
    /// That this is the newest. Online.
    Timestamp,
    /// The releases of one product. Offline, threshold.
    Product(ProductName),
    /// Artifacts made of signed payloads. Online.
    Derived,
    /// Signs no target: its keys are the ones that sign plans. Online.
    Plan,
}

impl RoleName {
    /// Whether the top-level targets role delegates it.
    pub const fn is_delegated(&self) -> bool {
        matches!(self, Self::Product(_) | Self::Derived | Self::Plan)
    }

    /// The pattern of its target paths (TUF 1.0, 4.5: `*` does not match a `/`).
    pub fn pattern(&self) -> Option<String> {
        match self {
            Self::Product(product) => Some(format!("releases/{product}/*/*")),
            Self::Derived => Some("derived/*/*".to_owned()),
            Self::Plan => Some("plan/*".to_owned()),
            _ => None,
        }
    }

    /// The file of one version, with consistent snapshots (TUF 1.0, 6.2).
    pub fn file(&self, version: u64) -> String {
        match self {
            Self::Timestamp => "timestamp.json".to_owned(),
            _ => format!("{version}.{self}.json"),
        }
    }

    /// How the snapshot lists it.
    pub fn meta(&self) -> String {
        format!("{self}.json")
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Targets => f.write_str("targets"),
            Self::Snapshot => f.write_str("snapshot"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Product(product) => write!(f, "product-{product}"),
            Self::Derived => f.write_str("derived"),
            Self::Plan => f.write_str("plan"),
        }
    }
}

impl FromStr for RoleName {
    type Err = Refusal;
    fn from_str(s: &str) -> Result<Self, Refusal> {
        Ok(match s {
            "root" => Self::Root,
            "targets" => Self::Targets,
            "snapshot" => Self::Snapshot,
            "timestamp" => Self::Timestamp,
            "derived" => Self::Derived,
            "plan" => Self::Plan,
            _ => match s.strip_prefix("product-").map(str::parse) {
                Some(Ok(product)) => Self::Product(product),
                _ => return refuse(Why::MetadataForm, format!("{:?} is not a role.", clip(s))),
            },
        })
    }
}

impl Serialize for RoleName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RoleName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}

/// One payload of one release, as the release keys sign it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SignedPayload {
    /// The product.
    pub product: ProductName,
    /// The release's version.
    pub version: Version,
    /// The payload's name in the manifest.
    pub payload: String,
    /// SHA-256 of `release.toml`.
    pub manifest: Digest,
    /// SHA-256 of the payload.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
}

impl SignedPayload {
    /// Its target path: `releases/PRODUCT/VERSION/PAYLOAD`.
    pub fn path(&self) -> String {
        format!("releases/{}/{}/{}", self.product, self.version, self.payload)
    }

    pub(crate) fn to_target(&self) -> Result<(TargetName, Target), Refusal> {
        // The alphabet of every name, so that a payload's name cannot reach into another path.
        if self.payload.parse::<ProductName>().is_err() {
            return refuse(Why::OutOfPath, format!("{:?} is not a payload name.", clip(&self.payload)));
        }
        let target = target(self.length, self.sha256, [("manifest", json!(self.manifest))]);
        Ok((target_name(&self.path())?, target))
    }

    pub(crate) fn from_target(name: &TargetName, target: &Target) -> Result<Self, Refusal> {
        let parts: Vec<_> = name.raw().split('/').collect();
        let read = || {
            let ["releases", product, version, payload] = parts[..] else { return None };
            let version: Version = version.parse().ok()?;
            payload.parse::<ProductName>().ok()?;
            let manifest = custom(target, "manifest")?.as_str()?.parse().ok()?;
            let (product, payload, length) = (product.parse().ok()?, payload.to_owned(), target.length);
            Some(Self { product, version, payload, manifest, sha256: digest_of(target)?, length })
        };
        exact(name, read(), Self::path)
    }
}

/// One artifact of a payload, as head office signs it.
///
/// Forged, it costs bandwidth; the payload's digest still decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SignedArtifact {
    /// SHA-256 of the payload that it carries.
    pub payload: Digest,
    /// SHA-256 of the artifact file.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of its header and segment table, so that segments are authentic as they arrive.
    pub index_sha256: Digest,
    /// Length of header and table in bytes.
    pub index_length: u64,
    /// Its BitTorrent v1 info hash.
    pub info_hash: InfoHash,
}

impl SignedArtifact {
    /// Its target path: `derived/PAYLOAD/ARTIFACT`, both by SHA-256.
    pub fn path(&self) -> String {
        format!("derived/{}/{}", self.payload, self.sha256)
    }

    pub(crate) fn to_target(&self) -> Result<(TargetName, Target), Refusal> {
        let more = [
            ("index_sha256", json!(self.index_sha256)),
            ("index_length", json!(self.index_length)),
            ("info_hash", json!(self.info_hash)),
        ];
        Ok((target_name(&self.path())?, target(self.length, self.sha256, more)))
    }

    pub(crate) fn from_target(name: &TargetName, target: &Target) -> Result<Self, Refusal> {
        let parts: Vec<_> = name.raw().split('/').collect();
        let read = || {
            let ["derived", payload, _] = parts[..] else { return None };
            Some(Self {
                payload: payload.parse().ok()?,
                sha256: digest_of(target)?,
                length: target.length,
                index_sha256: custom(target, "index_sha256")?.as_str()?.parse().ok()?,
                index_length: custom(target, "index_length")?.as_u64()?,
                info_hash: custom(target, "info_hash")?.as_str()?.parse().ok()?,
            })
        };
        exact(name, read(), Self::path)
    }
}

/// What was read must stand under exactly the path that it would be written to.
///
/// One spelling, one meaning.
fn exact<T>(name: &TargetName, read: Option<T>, path: impl Fn(&T) -> String) -> Result<T, Refusal> {
    match read {
        Some(found) if path(&found) == name.raw() => Ok(found),
        _ => refuse(Why::OutOfPath, format!("This role may not sign {:?}.", clip(name.raw()))),
    }
}

fn custom<'a>(target: &'a Target, key: &str) -> Option<&'a Value> {
    target.custom.get(key)
}

fn digest_of(target: &Target) -> Option<Digest> {
    <[u8; 32]>::try_from(target.hashes.sha256.as_ref()).ok().map(Digest::new)
}

fn target_name(path: &str) -> Result<TargetName, Refusal> {
    TargetName::new(path).map_err(|_| Refusal::new(Why::OutOfPath, format!("{:?} is not a target path.", clip(path))))
}

fn target<const N: usize>(length: u64, sha256: Digest, more: [(&str, Value); N]) -> Target {
    Target {
        length,
        hashes: Hashes { sha256: sha256.as_bytes().to_vec().into(), _extra: Default::default() },
        custom: more.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        _extra: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_one_spelling() {
        for text in ["root", "targets", "snapshot", "timestamp", "product-kiosk", "derived", "plan"] {
            assert_eq!(text.parse::<RoleName>().unwrap().to_string(), text);
        }
        for bad in ["", "Root", "product-", "product-a/b", "product-../x", "mirrors"] {
            assert!(bad.parse::<RoleName>().is_err(), "{bad}");
        }
        assert_eq!(RoleName::Plan.file(3), "3.plan.json");
        assert_eq!(RoleName::Timestamp.file(3), "timestamp.json");
    }

    #[test]
    fn a_payload_reads_back_from_its_own_path_only() {
        let payload = SignedPayload {
            product: "kiosk".parse().unwrap(),
            version: "2.4.0-rc.1+b7".parse().unwrap(),
            payload: "rootfs".into(),
            manifest: Digest::new([1; 32]),
            sha256: Digest::new([2; 32]),
            length: 9,
        };
        let (name, target) = payload.to_target().unwrap();
        assert_eq!(name.raw(), "releases/kiosk/2.4.0-rc.1+b7/rootfs");
        assert_eq!(SignedPayload::from_target(&name, &target).unwrap(), payload);
        for path in ["releases/kiosk/2.4.0/a/b", "derived/kiosk/2.4.0/rootfs", "releases/Kiosk/2.4.0/rootfs", "x"] {
            let name = TargetName::new(path).unwrap();
            assert_eq!(SignedPayload::from_target(&name, &target).unwrap_err().why(), Why::OutOfPath, "{path}");
        }
        let reaching = SignedPayload { payload: "../till/2.0.0/rootfs".into(), ..payload };
        assert_eq!(reaching.to_target().unwrap_err().why(), Why::OutOfPath);
    }
}
