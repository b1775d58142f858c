//! `release.toml`: what is accepted and what each refusal says.

use proptest::prelude::*;
use release::{Manifest, PayloadKind};

use super::kit::{good_toml, parse};

#[track_caller]
fn refused(toml: &str, says: &str) {
    let message = parse(toml).unwrap_err().to_string();
    assert!(message.contains(says), "{message:?} does not say {says:?}");
    assert!(message.len() < 1000, "{message}");
}

const PACKAGE: &str = r#"
[[payload]]
name = "printer-driver"
kind = "package"
file = "payloads/driver.tar"
size = 5
sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
run = ["/bin/sh", "install.sh"]
restart = ["cups.service"]
health = ["/usr/bin/lpstat"]
"#;

#[test]
fn the_example_of_the_documentation_is_read() {
    let manifest = parse(&(good_toml() + PACKAGE)).unwrap();
    assert_eq!(manifest.product.as_str(), "kiosk");
    assert_eq!(manifest.payloads.len(), 2);
    assert_eq!(manifest.payloads[1].kind, PayloadKind::Package);
    let model = "kiosk-x86-64".parse().unwrap();
    assert_eq!(manifest.slot_image_for(&model).unwrap().name.as_str(), "rootfs");
    assert!(manifest.slot_image_for(&"other".parse().unwrap()).is_none());
    assert_eq!(parse(&manifest.to_toml().unwrap()).unwrap(), manifest, "it is written as it is read");
}

#[test]
fn what_is_missing_unknown_or_out_of_bounds_is_refused_by_name() {
    let good = good_toml();
    refused(&good.replace("format = 1", "format = 2"), "format = 2");
    refused(&good.replace("format = 1\n", ""), "format");
    refused(&format!("colour = 1\n{good}"), "colour");
    refused(&good.replace("[[payload]]", "[[payload]]\ncolour = 1"), "colour");
    refused(&good.replace("size = 9000", ""), "payload rootfs has no size");
    refused(&good.replace("size = 9000", "size = 0"), "size is 0");
    refused(&good.replace("size = 9000", "size = -1"), "line");
    refused(&good.replace("\"2.4.0\"", "\"2.4\""), "2.4");
    refused(&good.replace("kiosk-x86-64", "KIOSK"), "KIOSK");
    refused(&good.replace("\"rootfs\"", "\"Root FS\""), "Root FS");
    refused(&good.replace("slot-image", "slot"), "slot");
    refused(&good.replace("[\"kiosk-x86-64\"]", "[]"), "at least one model");
    refused(&good.replace("payloads/rootfs.img", "release.toml"), "cannot be release.toml");
    refused(&good.replace("payloads/rootfs.img", "/dev/sda"), "absolute");
    refused(&good.replace("Fixes receipt printing", &"x".repeat(20_001)), "notes");
    refused(good.split("[[payload]]").next().unwrap(), "0 payloads");
    refused(&format!("{good}\n{}", "x = \"".repeat(3)), "line");
    assert!(Manifest::parse(b"format = 1\n\xff").unwrap_err().to_string().contains("UTF-8"));
}

#[test]
fn parts_that_contradict_each_other_are_refused() {
    let good = good_toml();
    let payload = good.split("[[payload]]").nth(1).unwrap();
    let twice = |change: &dyn Fn(&str) -> String| format!("{good}\n[[payload]]\n{}", change(payload));
    refused(&twice(&str::to_owned), "two payloads are named rootfs");
    refused(&twice(&|p| p.replace("\"rootfs\"", "\"b\"")), "two payloads have the file");
    refused(&twice(&|p| p.replace("rootfs", "b")), "model kiosk-x86-64 is listed by two slot images");
    refused(&format!("{good}\nrun = [\"x\"]"), "only a package may have run");
    refused(&(good.clone() + &PACKAGE.replace("run =", "#")), "a package needs run");
    refused(&(good.clone() + &PACKAGE.replace("\"install.sh\"", "\"\"")), "run takes");
    refused(&(good + &PACKAGE.replace("\"install.sh\"", &"\"x\",".repeat(70))), "run takes");
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,300}") {
        let _ = parse(&text);
    }

    #[test]
    fn a_manifest_with_a_changed_byte_is_answered(at: prop::sample::Index, byte: u8) {
        let mut toml = good_toml().into_bytes();
        let at = at.index(toml.len());
        toml[at] = byte;
        if let Err(e) = Manifest::parse(&toml) {
            prop_assert!(e.to_string().len() < 1000 && !e.to_string().contains('\n'));
        }
    }
}
