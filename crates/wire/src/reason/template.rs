//! Templates of sentences: text with `{name}`, `{name:size}` (bytes), `{name:time}` (seconds) and `{name:is|are}` (the form that the
//! count needs) in it.

use fleet_types::size;

use super::Params;

/// Fills a template; `None` if one of its parameters is missing or has no value of its kind.
pub(super) fn fill(template: &str, params: &Params) -> Option<String> {
    let (mut out, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (place, after) = after.split_once('}')?;
        out.push_str(before);
        match place.split_once(':') {
            Some((name, "size")) => out.push_str(&size(params.get(name)?.parse().ok()?)),
            Some((name, "time")) => out.push_str(&time(params.get(name)?.parse().ok()?)),
            Some((name, forms)) => {
                let (one, many) = forms.split_once('|')?;
                out.push_str(if params.get(name)? == "1" { one } else { many });
            }
            None => out.push_str(params.get(place)?),
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// The names of a template's parameters.
#[cfg(test)]
pub(super) fn names(template: &str) -> Vec<&str> {
    let places = template.split('{').skip(1).filter_map(|part| part.split_once('}'));
    places.map(|(place, _)| place.split_once(':').map_or(place, |(name, _)| name)).collect()
}

fn time(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_rendered_in_units_people_use() {
        let sizes = [(512, "512 bytes"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (5 << 30, "5.0 GiB")];
        assert_eq!(sizes.map(|(bytes, _)| size(bytes)), sizes.map(|(_, text)| text.to_owned()));
        let times = [(90, "90 s"), (600, "10 min"), (7200, "2 h")];
        assert_eq!(times.map(|(seconds, _)| time(seconds)), times.map(|(_, text)| text.to_owned()));
    }

    #[test]
    fn a_noun_has_the_form_that_its_count_needs() {
        let of = |count: &str| {
            let mut params = Params::default();
            params.insert("others", count);
            fill("{others} {others:file is|files are} there", &params).unwrap()
        };
        assert_eq!(["0", "1", "2"].map(of), ["0 files are there", "1 file is there", "2 files are there"]);
    }

    #[test]
    fn a_missing_or_unreadable_parameter_fills_nothing() {
        let mut params = Params::default();
        params.insert("free", "much");
        assert_eq!(fill("{free}", &params).as_deref(), Some("much"));
        assert_eq!(fill("{free:size}", &params), None);
        assert_eq!(fill("{needed}", &params), None);
        assert_eq!(fill("{free", &params), None);
        assert_eq!(fill("{free:odd}", &params), None);
        assert_eq!(fill("no place", &params).as_deref(), Some("no place"));
    }
}
