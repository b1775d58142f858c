//! Aligned columns.

/// Renders rows under a heading in aligned columns, two spaces apart.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(width);
    for row in rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(cell));
        }
    }
    let mut out = line(heading.iter().copied(), &widths);
    for row in rows {
        out.push_str(&line(row.iter().map(String::as_str), &widths));
    }
    out
}

/// Renders names and aligned values, one per line; empty values are omitted.
pub(crate) fn fields(pairs: &[(&str, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    let widest = pairs.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:<widest$}  {value}\n")).collect()
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut out = String::new();
    for (cell, w) in cells.zip(widths) {
        out.push_str(cell);
        out.extend(std::iter::repeat_n(' ', w - width(cell) + 2));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_beyond_ascii() {
        let text = table(["name", "what"], &[["юг".into(), "a".into()], ["northern".into(), "b".into()]]);
        assert_eq!(text, "name      what\nюг        a\nnorthern  b\n");
    }

    #[test]
    fn empty_fields_are_left_out() {
        assert_eq!(fields(&[("a", "1".into()), ("long", "2".into()), ("no", String::new())]), "a     1\nlong  2\n");
    }
}
