//! Extension records before a member: GNU long names and PAX headers, read for the name and the size only.

use tar::{EntryType, Header};

use crate::flaw::{Flaw, NOT_SPARSE, ONE_VOLUME, Why};

use super::reader::entry_size;

/// What the records before a member said about it.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    long_name: Option<Vec<u8>>,
    pax: Option<Pax>,
    /// A link's target, which is read over.
    target: bool,
    at: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extensions {
    /// Whether a header of this type begins a record and not a member.
    pub(crate) fn is_extension(kind: EntryType) -> bool {
        matches!(kind, EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader)
    }

    /// Takes in the record of type `kind` that began at byte `at`.
    pub(crate) fn add(&mut self, kind: EntryType, at: u64, body: Vec<u8>) -> Result<(), Flaw> {
        let bad = |why| Flaw::BadExtension { at, why };
        self.at = at;
        match kind {
            // Names the target of a link, and links are refused by themselves.
            EntryType::GNULongLink if self.target => {
                Err(bad(Why::new("extension-second-name", "is a second target for one link")))
            }
            EntryType::GNULongLink => {
                self.target = true;
                Ok(())
            }
            EntryType::GNULongName => {
                let name = until_zero(&body).ok_or(bad(TWO_NAMES))?.to_vec();
                self.long_name
                    .replace(name)
                    .map_or(Ok(()), |_| Err(bad(Why::new("extension-second-name", "is a second name for one member"))))
            }
            EntryType::XHeader => {
                let pax = parse(&body).map_err(bad)?;
                self.pax.replace(pax).map_or(Ok(()), |_| {
                    Err(bad(Why::new("extension-second-pax", "is a second PAX header for one member")))
                })
            }
            _ => match parse(&body).map_err(bad)? {
                Pax { path: None, size: None } => Ok(()),
                _ => Err(bad(Why::new("extension-global", "gives one name or size to every member"))),
            },
        }
    }

    /// Whether nothing was taken in since the last member.
    pub(crate) fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.pax.is_none() && !self.target
    }

    /// Name and size of the member that follows, and the offset of `header` was `at`.
    ///
    /// Leaves nothing behind.
    pub(crate) fn resolve(&mut self, header: &Header, at: u64) -> Result<(Vec<u8>, u64), Flaw> {
        let Self { long_name, pax, target: _, at: record } = std::mem::take(self);
        let pax = pax.unwrap_or_default();
        let stated = entry_size(header)
            .ok_or(Flaw::BadHeader { at, why: Why::new("header-size", "its size cannot be read") })?;
        let name = match (long_name, pax.path) {
            (Some(_), Some(_)) => {
                return Err(Flaw::BadExtension {
                    at: record,
                    why: Why::new("extension-second-name", "is a second name for one member"),
                });
            }
            (Some(name), None) | (None, Some(name)) => name,
            (None, None) => {
                let fields = header.as_ustar().map(|h| &h.prefix[..]).into_iter().chain([&header.as_old().name[..]]);
                if fields.into_iter().any(|field| until_zero(field).is_none()) {
                    return Err(Flaw::BadHeader { at, why: TWO_NAMES });
                }
                header.path_bytes().into_owned()
            }
        };
        // Programs differ in which of two sizes they believe. Where octal has no room, writers put 0 or a cut number.
        match pax.size {
            Some(size) if size != stated && size < 1 << 33 => Err(Flaw::BadExtension {
                at: record,
                why: Why::new("extension-other-size", "gives another size than the header after it"),
            }),
            Some(size) => Ok((name, size)),
            None => Ok((name, stated)),
        }
    }
}

/// A name is read to its first zero.
///
/// What stands behind that, only another program would see.
const TWO_NAMES: Why = Why::new("header-name", "has a name that goes on after its end");

/// The bytes before the first zero; `None` if there is something else than zeros behind it.
fn until_zero(field: &[u8]) -> Option<&[u8]> {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let (name, rest) = field.split_at(end);
    rest.iter().all(|b| *b == 0).then_some(name)
}

/// PAX records: `LENGTH KEY=VALUE\n`, the length counting the whole record in decimal.
fn parse(mut body: &[u8]) -> Result<Pax, Why> {
    let mut pax = Pax::default();
    while !body.is_empty() {
        let space = body
            .iter()
            .take(20)
            .position(|b| *b == b' ')
            .ok_or(Why::new("extension-line-length", "has a line without a length"))?;
        let length = decimal(&body[..space]).ok_or(Why::new("extension-line-length", "has a line without a length"))?;
        let length = usize::try_from(length)
            .map_err(|_| Why::new("extension-line-length", "has a line that is longer than itself"))?;
        if length <= space + 1 || length > body.len() || body[length - 1] != b'\n' {
            return Err(Why::new("extension-line-length", "has a line whose length is wrong"));
        }
        let line = &body[space + 1..length - 1];
        body = &body[length..];
        let equals =
            line.iter().position(|b| *b == b'=').ok_or(Why::new("extension-line", "has a line without \"=\""))?;
        let (key, value) = (&line[..equals], &line[equals + 1..]);
        match key {
            b"path" if pax.path.is_none() => pax.path = Some(value.to_vec()),
            b"size" if pax.size.is_none() => {
                pax.size = Some(decimal(value).ok_or(Why::new("extension-size", "has a size that is not a number"))?);
            }
            b"path" | b"size" => return Err(Why::new("extension-twice", "says the same thing twice")),
            // Names must be UTF-8 here in any case, and then all three read the same.
            b"hdrcharset" if matches!(value, b"" | b"BINARY" | b"ISO-IR 10646 2000 UTF-8") => {}
            b"hdrcharset" => {
                return Err(Why::with(
                    "extension-charset",
                    "changes the character set of names",
                    "Pack with names in UTF-8 and without the pax option `hdrcharset`, or use `filial release pack`.",
                ));
            }
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(Why::with("extension-sparse", "makes a sparse file", NOT_SPARSE));
            }
            // The next member is then the rest of a file, under a name of its own.
            b"GNU.volume.filename" | b"GNU.volume.size" | b"GNU.volume.offset" => {
                return Err(Why::with("extension-volume", "continues a file of another volume", ONE_VOLUME));
            }
            // Times, owners, comments and attributes: nothing here depends on them.
            _ => {}
        }
    }
    Ok(pax)
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_read_by_their_stated_length() {
        let pax = parse(b"12 path=a\nb\n23 mtime=1234567.89012\n11 size=17\n").unwrap();
        assert_eq!(pax, Pax { path: Some(b"a\nb".to_vec()), size: Some(17) });
        assert_eq!(parse(b""), Ok(Pax::default()));
    }

    #[test]
    fn character_sets_that_leave_utf_8_as_it_is_are_read() {
        for charset in ["21 hdrcharset=BINARY\n", "38 hdrcharset=ISO-IR 10646 2000 UTF-8\n"] {
            let record = [charset.as_bytes(), b"10 path=a\n"].concat();
            assert_eq!(parse(&record), Ok(Pax { path: Some(b"a".to_vec()), size: None }), "{charset}");
        }
    }

    #[test]
    fn bad_records_are_refused() {
        for bad in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"999 a=b\n",
            b"a=b\n",
            b"6 a b\n\n",
            b"0 a=b\n",
            b"99999999999999999999999 a=b\n",
            b"10 path=a\n10 path=b\n",
            b"11 size=-1\n",
            b"23 hdrcharset=BINARYxx\n",
            b"21 GNU.sparse.major=1\n",
        ] {
            assert!(parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn two_names_or_two_sizes_are_ambiguous() {
        let mut header = Header::new_ustar();
        header.set_size(5);
        let mut both = Extensions::default();
        both.add(EntryType::GNULongName, 0, b"a\0".to_vec()).unwrap();
        both.add(EntryType::XHeader, 512, b"10 path=b\n".to_vec()).unwrap();
        assert!(both.resolve(&header, 1024).is_err());

        let mut size = Extensions::default();
        size.add(EntryType::XHeader, 0, b"10 size=6\n".to_vec()).unwrap();
        assert!(size.resolve(&header, 512).is_err());
        size.add(EntryType::XHeader, 0, b"20 size=10000000000\n".to_vec()).unwrap();
        assert_eq!(size.resolve(&header, 512).unwrap().1, 10_000_000_000);
        assert!(size.is_empty());

        let mut global = Extensions::default();
        assert!(global.add(EntryType::XGlobalHeader, 0, b"10 size=6\n".to_vec()).is_err());
        assert!(global.add(EntryType::XGlobalHeader, 0, b"13 comment=x\n\n".to_vec()).is_err());
        assert!(global.add(EntryType::XGlobalHeader, 0, b"13 comment=x\n".to_vec()).is_ok());
    }

    proptest! {
        #[test]
        fn any_record_is_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }

        #[test]
        fn almost_records_are_read_without_panic(body in "([0-9]{0,3} (path|size|x)=[0-9a-z\n]{0,8}\n?){0,4}") {
            let _ = parse(body.as_bytes());
        }
    }
}
