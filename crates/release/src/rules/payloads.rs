//! Rules on the payloads' bytes: `digests`, `image-magic`, `image-sums`.

use crate::image::FileSystem;
use crate::manifest::{Payload, PayloadKind};
use crate::scan::Member;
use fleet_types::plural;

use super::case::{Case, Judgement};
use super::words::first_of;

pub(super) fn digests(case: &Case<'_>) -> Judgement {
    let wrong = |(payload, member): (&Payload, Option<&Member>)| {
        let member = member?;
        if member.length != payload.size {
            return Some((
                "payload-length",
                format!("{} has {} bytes, but release.toml states {}", payload.file, member.length, payload.size),
            ));
        }
        (member.sha256 != payload.sha256).then(|| {
            let (found, stated) = (member.sha256.short(), payload.sha256.short());
            ("payload-digest", format!("{} has SHA-256 {found}…, but release.toml states {stated}…", payload.file))
        })
    };
    judge(
        case,
        |_| true,
        wrong,
        "Pack again with `filial release pack`, which fills in sizes and digests.",
        |count| format!("{} as stated.", plural(count, "payload", "payloads")),
    )
}

pub(super) fn image_magic(case: &Case<'_>) -> Judgement {
    let allowed = &case.policy.image_magic.file_systems;
    let names = || allowed.iter().map(|f: &FileSystem| f.as_str()).collect::<Vec<_>>().join(", ");
    let wrong = |(payload, member): (&Payload, Option<&Member>)| {
        let member = member?;
        let Some(image) = member.image else {
            return Some(("image-unknown", format!("{} is not a known file system", payload.file)));
        };
        if !allowed.contains(&image.file_system) {
            let why = format!("{} is {}; allowed are {}", payload.file, image.file_system, names());
            return Some(("image-not-allowed", why));
        }
        if image.bytes == 0 || image.bytes > member.length {
            let why = format!(
                "{} states that it is a {} of {} bytes, but the file has {}",
                payload.file, image.file_system, image.bytes, member.length
            );
            return Some(("image-length", why));
        }
        None
    };
    let remedy = format!("Build the slot image as one of {}, uncompressed, and pack it completely.", names());
    let slot_image = |p: &Payload| p.kind == PayloadKind::SlotImage;
    judge(case, slot_image, wrong, &remedy, |count| match count {
        0 => "The release has no slot image.".to_owned(),
        _ => format!("{} of an allowed kind, complete.", plural(count, "slot image", "slot images")),
    })
}

pub(super) fn image_sums(case: &Case<'_>) -> Judgement {
    if case.scan.manifest().is_none() {
        return Judgement::no_manifest();
    }
    let images = case.scan.payloads().filter(|(payload, _)| payload.kind == PayloadKind::SlotImage);
    let unchecked: Vec<String> = images
        .filter(|(_, member)| member.is_some_and(|member| member.kernel_unchecked))
        .map(|(payload, _)| format!("{} has a kernel and no sha256sums beside it", payload.file))
        .collect();
    match unchecked.is_empty() {
        true => Judgement::pass("No slot image has a kernel without sums."),
        false => Judgement::warn(
            first_of(&unchecked),
            "Let the build write them (`sha256sum boot/vmlinuz boot/initrd.img > boot/sha256sums`), or accept that a damaged kernel is started.",
        )
        .code("image-without-sums"),
    }
}

/// Fails if any payload that concerns the rule is wrong.
///
/// Is unknown if one is not there to be judged.
fn judge(
    case: &Case<'_>,
    concerns: impl Fn(&Payload) -> bool,
    wrong: impl Fn((&Payload, Option<&Member>)) -> Option<(&'static str, String)>,
    remedy: &str,
    praise: impl Fn(usize) -> String,
) -> Judgement {
    if case.scan.manifest().is_none() {
        return Judgement::no_manifest();
    }
    let concerned: Vec<_> = case.scan.payloads().filter(|(p, _)| concerns(p)).collect();
    let (codes, sentences): (Vec<_>, Vec<String>) = concerned.iter().filter_map(|pair| wrong(*pair)).unzip();
    if let Some(code) = codes.first() {
        return Judgement::fail(first_of(&sentences), remedy).code(code);
    }
    if let Some((payload, _)) = concerned.iter().find(|(_, member)| member.is_none()) {
        return Judgement::unknown(
            format!("The file of payload {} could not be read from the archive.", payload.name),
            "Resolve archive-shape and paths-safe first.",
        );
    }
    Judgement::pass(praise(concerned.len()))
}
