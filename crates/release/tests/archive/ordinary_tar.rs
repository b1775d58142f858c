//! The ordinary `tar` writes what we read, and reads what we write.

use std::path::Path;

use wire::v1::releases::Verdict::{Fail, Pass};

use release::Policy;

use super::kit::{Tar, expect, fleet, folder, good, good_toml, judge, put, squashfs};

#[expect(clippy::disallowed_methods, reason = "the ordinary tar is what this is tested against")]
fn run(program: &str, args: &[&str], folder: &Path) -> String {
    let out = std::process::Command::new(program).args(args).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    assert!(out.stderr.is_empty(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn tar_reads_ours() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("x.upd"), &good());
    assert_eq!(run("tar", &["-tf", "x.upd"], dir.path()), "release.toml\npayloads/rootfs.img\n");
    run("tar", &["-xf", "x.upd"], dir.path());
    assert_eq!(std::fs::read_to_string(dir.path().join("release.toml")).unwrap(), good_toml());
    assert_eq!(std::fs::read(dir.path().join("payloads/rootfs.img")).unwrap(), squashfs(9000));
}

#[test]
fn ours_is_read_from_every_format_of_tar() {
    let dir = folder();
    put(&dir.path().join("release.toml"), good_toml().as_bytes());
    for format in ["gnu", "posix", "ustar", "v7"] {
        for names in [
            &["release.toml", "payloads"][..],
            &["release.toml", "payloads/rootfs.img"],
            &["./release.toml", "./payloads"],
        ] {
            let option = format!("--format={format}");
            run("tar", &[&["-cf", "x.upd", &option], names].concat(), dir.path());
            let archive = std::fs::read(dir.path().join("x.upd")).unwrap();
            for rule in ["archive-shape", "paths-safe", "manifest-schema", "digests", "image-magic"] {
                expect(&archive, rule, Pass, "");
            }
        }
    }
}

#[test]
fn long_names_of_tar_are_read() {
    let dir = folder();
    let name = format!("payloads/{}/{}.img", "d".repeat(100), "f".repeat(110));
    put(&dir.path().join(&name), &squashfs(9000));
    put(&dir.path().join("release.toml"), good_toml().replace("payloads/rootfs.img", &name).as_bytes());
    for format in ["gnu", "posix"] {
        run("tar", &["-cf", "x.upd", &format!("--format={format}"), "release.toml", &name], dir.path());
        expect(&std::fs::read(dir.path().join("x.upd")).unwrap(), "archive-shape", Pass, "");
    }
}

#[test]
fn sparse_and_linked_files_of_tar_are_refused() {
    let dir = folder();
    std::os::unix::fs::symlink("payloads/rootfs.img", dir.path().join("link.img")).unwrap();
    put(&dir.path().join("release.toml"), good_toml().replace("payloads/rootfs.img", "link.img").as_bytes());
    run("tar", &["-cf", "x.upd", "release.toml", "link.img"], dir.path());
    expect(&std::fs::read(dir.path().join("x.upd")).unwrap(), "archive-shape", Fail, "symbolic link");
    run("tar", &["-chf", "x.upd", "release.toml", "link.img"], dir.path());
    expect(&std::fs::read(dir.path().join("x.upd")).unwrap(), "archive-shape", Pass, "");

    let hole = std::fs::File::create(dir.path().join("link2.img")).unwrap();
    hole.set_len(1 << 20).unwrap();
    put(&dir.path().join("release.toml"), good_toml().replace("payloads/rootfs.img", "link2.img").as_bytes());
    for format in ["gnu", "posix"] {
        run("tar", &["-cSf", "x.upd", &format!("--format={format}"), "release.toml", "link2.img"], dir.path());
        expect(&std::fs::read(dir.path().join("x.upd")).unwrap(), "archive-shape", Fail, "sparse");
    }
}

/// Packs a good release with options of the real tar, and expects the remedy to name the option.
#[track_caller]
fn remedy_names(options: &[&str], option: &str) {
    let dir = folder();
    put(&dir.path().join("release.toml"), good_toml().as_bytes());
    let hole = std::fs::File::options().write(true).open(dir.path().join("payloads/rootfs.img")).unwrap();
    hole.set_len(1 << 20).unwrap();
    let arguments = [&["-c", "-f", "x.upd"], options, &["release.toml", "payloads"]].concat();
    run("tar", &arguments, dir.path());
    let archive = std::fs::read(dir.path().join("x.upd")).unwrap();
    let finding = judge(&archive, &fleet(), &Policy::default(), "archive-shape");
    assert_eq!(finding.verdict, Fail, "{options:?}: {finding:?}");
    assert!(finding.remedy.contains(option), "{options:?}: {finding:?}");
    assert!(!finding.remedy.contains("damaged"), "{options:?}: {finding:?}");
}

#[test]
fn the_remedy_names_the_option_of_tar() {
    for format in ["--format=gnu", "--format=oldgnu", "--format=posix"] {
        remedy_names(&["--sparse", format], "`--sparse`");
    }
    for version in ["0.0", "0.1", "1.0"] {
        remedy_names(&["--sparse", "--format=posix", &format!("--sparse-version={version}")], "`--sparse`");
    }
    remedy_names(&["--label=kiosk", "--format=gnu"], "`--label`");
    remedy_names(&["--incremental", "--format=gnu"], "`--listed-incremental`");
}

#[test]
fn a_sparse_file_with_many_holes_is_not_taken_for_damage() {
    let dir = folder();
    let image = std::fs::File::options().write(true).open(dir.path().join("payloads/rootfs.img")).unwrap();
    image.set_len(8 << 20).unwrap();
    (1..64).for_each(|i| std::os::unix::fs::FileExt::write_all_at(&image, b"x", i << 17).unwrap());
    for format in ["gnu", "posix"] {
        run("tar", &["-cSf", "x.upd", &format!("--format={format}"), "release.toml", "payloads"], dir.path());
        let archive = std::fs::read(dir.path().join("x.upd")).unwrap();
        let finding = judge(&archive, &fleet(), &Policy::default(), "archive-shape");
        assert!(finding.cause.contains("sparse") && !finding.cause.contains("not a tar header"), "{finding:?}");
    }
}

#[test]
fn a_volume_label_in_a_pax_header_is_read_over() {
    let dir = folder();
    put(&dir.path().join("release.toml"), good_toml().as_bytes());
    let options = ["-c", "-f", "x.upd", "-V", "kiosk", "--format=posix", "release.toml", "payloads"];
    run("tar", &options, dir.path());
    expect(&std::fs::read(dir.path().join("x.upd")).unwrap(), "archive-shape", Pass, "");
}

#[test]
fn a_binary_character_set_is_accepted_when_names_are_utf_8() {
    // As Python's tarfile and bsdtar mark a header with an owner's name that is not UTF-8.
    let record = |name: &[u8]| {
        let path = [format!("{} path=", name.len() + 9).as_bytes(), name, b"\n"].concat();
        [b"21 hdrcharset=BINARY\n", &path[..]].concat()
    };
    let file = "payloads/\u{438}\u{43c}\u{44f}.img";
    let toml = good_toml().replace("payloads/rootfs.img", file);
    let archive = Tar::of(&toml).member(b"p", b'x', &record(file.as_bytes())).file("x", &squashfs(9000)).end();
    expect(&archive, "archive-shape", Pass, "");
    expect(&archive, "paths-safe", Pass, "");
    let latin = Tar::good().member(b"p", b'x', &record(b"payloads/caf\xe9.img")).file("x", b"x").end();
    expect(&latin, "paths-safe", Fail, "UTF-8");
}

#[test]
fn real_file_systems_are_recognised() {
    let dir = folder();
    let image = dir.path().join("payloads/rootfs.img");
    let path = image.to_str().unwrap();
    put(&dir.path().join("blob"), &squashfs(20_000));
    let makers: [(&str, &[&str]); 2] = [
        ("mksquashfs", &["blob", path, "-noappend", "-quiet", "-no-progress", "-noI", "-noD", "-noF", "-noX"]),
        ("mkfs.ext4", &["-q", "-F", path, "2M"]),
    ];
    for (maker, args) in makers {
        std::fs::remove_file(&image).unwrap();
        run(maker, args, dir.path());
        let out = dir.path().join("x.upd");
        let packed = release::pack(dir.path(), &out, &mut |_, _| {}).unwrap();
        let archive = std::fs::read(&out).unwrap();
        expect(&archive, "image-magic", Pass, "");
        assert_eq!(packed.manifest.payloads[0].size, std::fs::metadata(&image).unwrap().len());

        // The same image with its tail cut off, which no digest would tell if the manifest was made from it.
        std::fs::File::options().write(true).open(&image).unwrap().set_len(3000).unwrap();
        release::pack(dir.path(), &out, &mut |_, _| {}).unwrap();
        expect(&std::fs::read(&out).unwrap(), "image-magic", Fail, "but the file has 3000");
    }
}
