//! GNU long names and PAX headers: lies, ambiguity, excess.

use crate::case::Hostile;
use crate::tar::Tar;

use super::archive::archive;

pub(super) fn all() -> Vec<Hostile> {
    let raw = |kind: u8, record: &[u8]| Tar::good().member(b"p", kind, record).file("extra", b"x").end();
    let long = "x".repeat(10_000);
    let deep = format!("../{}", "a/".repeat(100));
    vec![
        archive(
            "pax-name-leads-out",
            "path-component",
            Tar::good().pax("path", "../../etc/passwd").file("a", b"x").end(),
        ),
        archive("pax-name-absolute", "path-absolute", Tar::good().pax("path", "/etc/passwd").file("a", b"x").end()),
        archive("pax-name-with-a-zero", "path-character", Tar::good().pax("path", "a\0b").file("a", b"x").end()),
        archive("pax-name-for-nobody", "extension-orphan", Tar::good().pax("path", "a").end()),
        archive("pax-size-another", "extension-other-size", Tar::good().pax("size", "6").file("extra", b"x").end()),
        archive(
            "pax-size-of-exabytes",
            "archive-truncated",
            Tar::good().pax("size", "9223372036854775807").file("e", b"x").end(),
        ),
        archive("pax-size-negative", "extension-size", Tar::good().pax("size", "-1").file("extra", b"x").end()),
        archive(
            "pax-size-of-20-digits",
            "extension-size",
            Tar::good().pax("size", "99999999999999999999").file("e", b"x").end(),
        ),
        archive("pax-line-longer-than-the-record", "extension-line-length", raw(b'x', b"999 path=a\n")),
        archive("pax-line-of-a-huge-length", "extension-line-length", raw(b'x', b"99999999999999999999999 path=a\n")),
        archive("pax-line-without-a-length", "extension-line-length", raw(b'x', b"path=a\n")),
        archive("pax-line-without-a-value", "extension-line", raw(b'x', b"7 path\n")),
        archive("pax-name-twice", "extension-twice", raw(b'x', b"10 path=a\n10 path=b\n")),
        archive("pax-changes-the-charset", "extension-charset", raw(b'x', b"33 hdrcharset=ISO-IR 8859 1 1998\n")),
        archive("pax-sparse", "extension-sparse", raw(b'x', b"22 GNU.sparse.major=1\n")),
        archive(
            "pax-header-twice",
            "extension-second-pax",
            Tar::good().pax("path", "a").pax("path", "b").file("c", b"x").end(),
        ),
        archive("pax-global-name", "extension-global", raw(b'g', b"10 path=a\n")),
        archive("pax-global-size", "extension-global", raw(b'g', b"10 size=6\n")),
        archive(
            "long-name-twice",
            "extension-second-name",
            Tar::good().long_name(b"a\0").long_name(b"b\0").file("c", b"x").end(),
        ),
        archive(
            "long-name-and-pax-name",
            "extension-second-name",
            Tar::good().long_name(b"a\0").pax("path", "b").file("c", b"x").end(),
        ),
        archive("long-name-for-nobody", "extension-orphan", Tar::good().long_name(b"a\0").end()),
        archive(
            "long-link-for-nobody",
            "extension-orphan",
            Tar::good().member(b"././@LongLink", b'K', b"/etc/passwd\0").end(),
        ),
        archive(
            "long-name-of-10-kilobytes",
            "path-too-long",
            Tar::good().long_name(long.as_bytes()).file("c", b"x").end(),
        ),
        archive("long-name-leads-out", "path-component", Tar::good().long_name(deep.as_bytes()).file("c", b"x").end()),
        archive(
            "long-name-with-a-second-behind-it",
            "header-name",
            Tar::good().long_name(b"a\0../b\0").file("c", b"x").end(),
        ),
        archive(
            "long-name-over-the-bound",
            "extension-too-long",
            Tar::good().long_name(&[b'x'; 70_000]).file("c", b"x").end(),
        ),
        archive("long-name-of-a-terabyte", "extension-too-long", Tar::good().header(b"././@LongLink", b'L', 1 << 40).0),
        archive("long-name-cut", "archive-truncated", Tar::good().header(b"././@LongLink", b'L', 60_000).0),
    ]
}
