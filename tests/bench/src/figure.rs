//! Figures, and how they are shown.

use anyhow::Result;
use serde::Serialize;

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    /// Less is better; the peer or limit is usually a floor.
    Lower,
    /// More is better.
    Higher,
}

/// One measured value beside a peer or limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    /// How much.
    pub(crate) value: f64,
    /// The unit of both values.
    pub(crate) unit: &'static str,
    /// The peer or limit.
    pub(crate) beside: String,
    /// What that came to, in the same run.
    pub(crate) beside_value: f64,
    /// `value` ÷ `beside_value`; none where that is nothing.
    pub(crate) ratio: Option<f64>,
    /// Which way the ratio is better.
    pub(crate) better: Better,
}

impl Figure {
    /// A figure; its ratio is computed from the unrounded values.
    pub(crate) fn new(
        what: impl Into<String>,
        (value, unit): (f64, &'static str),
        (beside, beside_value): (impl Into<String>, f64),
        better: Better,
    ) -> Self {
        let ratio = (beside_value > 0.0).then(|| round(value / beside_value, 1000.0));
        let (value, beside_value) = (round(value, 1000.0), round(beside_value, 1000.0));
        Self { what: what.into(), value, unit, beside: beside.into(), beside_value, ratio, better }
    }
}

/// The figures of a section and the conditions they hold under.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Section {
    /// Its heading.
    pub(crate) title: String,
    /// The conditions, a sentence each.
    pub(crate) notes: Vec<String>,
    /// The figures.
    pub(crate) figures: Vec<Figure>,
}

/// Everything one run found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Results {
    /// How many processors the machine gives this process.
    pub(crate) cores: usize,
    /// How many processes wanted to run in the minute before, on average; none if the system does not say.
    pub(crate) load_before: Option<f64>,
    /// Whether the programs were built with optimisation.
    pub(crate) optimised: bool,
    /// What was measured.
    pub(crate) sections: Vec<Section>,
    /// What could not be measured, and why.
    pub(crate) failed: Vec<String>,
}

impl Results {
    /// None yet.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, Into::into);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load_before = load.split_whitespace().next().and_then(|minute| minute.parse().ok());
        let optimised = !cfg!(debug_assertions);
        Self { cores, load_before, optimised, sections: Vec::new(), failed: Vec::new() }
    }

    /// Adds a section, or why there is none.
    pub(crate) fn take(&mut self, name: &str, measured: Result<Section>) {
        match measured {
            Ok(section) => self.sections.push(section),
            Err(e) => {
                let why = format!("{name}: {e:#}");
                crate::say::say(format_args!("could not be measured: {why}"));
                self.failed.push(why);
            }
        }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let built = if self.optimised { "optimised" } else { "not optimised" };
        let mut text =
            format!("Measured in one run on {} processors, {built} programs. ratio = value ÷ beside.\n", self.cores);
        if let Some(load) = self.load_before.filter(|load| *load > 0.5) {
            text += &format!("The machine had other work (load {load}): rates are lower than they could be.\n");
        }
        for section in &self.sections {
            text += &format!("\n{}\n", section.title);
            let rows = std::iter::once(Row::heading()).chain(section.figures.iter().map(Row::of)).collect::<Vec<_>>();
            text += &lay_out(&rows);
            section.notes.iter().for_each(|note| text += &format!("  · {note}\n"));
        }
        if !self.failed.is_empty() {
            text += "\nNot measured:\n";
            // The whole account went to standard error when it happened.
            self.failed.iter().filter_map(|why| why.lines().next()).for_each(|why| text += &format!("  {why}\n"));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// One line of the table: columns and whether each is aligned to the right.
struct Row([String; 6]);

const RIGHT: [bool; 6] = [false, true, false, false, true, true];

impl Row {
    fn heading() -> Self {
        Self(["what", "value", "unit", "beside", "value", "ratio"].map(str::to_owned))
    }

    fn of(figure: &Figure) -> Self {
        let mark = match figure.better {
            Better::Lower => "↓",
            Better::Higher => "↑",
        };
        let ratio = figure.ratio.map_or_else(|| "–".to_owned(), |r| format!("{r:.2} {mark}"));
        let (value, beside) = (number(figure.value), number(figure.beside_value));
        Self([figure.what.clone(), value, figure.unit.to_owned(), figure.beside.clone(), beside, ratio])
    }
}

/// Columns as wide as their widest cell.
fn lay_out(rows: &[Row]) -> String {
    let width = |column: usize| rows.iter().map(|r| r.0[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for Row(cells) in rows {
        let padded = cells.iter().zip(widths).zip(RIGHT).map(|((cell, width), right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        text += &format!("  {}\n", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// Three digits that count: more would be noise.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Bytes in millions.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The value in the middle; the lower one of two. `None` if there is none.
pub(crate) fn middle<T>(mut values: Vec<T>, key: impl Fn(&T) -> f64) -> Option<T> {
    values.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let at = values.len().checked_sub(1)? / 2;
    Some(values.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, beside: f64) -> Figure {
        Figure::new("encode, level 9", (value, "MB/s"), ("zstd -9", beside), Better::Higher)
    }

    #[test]
    fn a_ratio_is_of_the_unrounded_values() {
        assert_eq!(figure(150.0, 100.0).ratio, Some(1.5));
        assert_eq!(figure(0.000_4, 0.000_1).ratio, Some(4.0));
        assert_eq!(figure(0.000_4, 0.000_1).value, 0.0);
        assert_eq!(figure(1.0, 0.0).ratio, None);
    }

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let section = Section {
            title: "Rates".into(),
            notes: vec!["of a file".into()],
            figures: vec![figure(1234.5, 9.0), Figure::new("ö", (1.0, "s"), ("floor", 0.0), Better::Lower)],
        };
        let results = Results {
            cores: 2,
            load_before: Some(0.2),
            optimised: true,
            sections: vec![section],
            failed: vec!["swarm: no root".into()],
        };
        let text = results.table();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3], "  what             value  unit  beside   value     ratio");
        assert_eq!(lines[4], "  encode, level 9   1234  MB/s  zstd -9   9.00  137.17 ↑");
        assert_eq!(lines[5], "  ö                 1.00  s     floor     0.00         –");
        assert_eq!(lines[6], "  · of a file");
        assert_eq!(lines.last(), Some(&"  swarm: no root"));
    }

    #[test]
    fn json_has_every_field_of_a_figure() {
        let json = serde_json::to_value(figure(150.0, 100.0)).unwrap();
        let expected = serde_json::json!({
            "what": "encode, level 9", "value": 150.0, "unit": "MB/s", "beside": "zstd -9", "beside_value": 100.0,
            "ratio": 1.5, "better": "higher",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_failed_section_is_kept_with_its_cause() {
        let mut results = Results::new();
        results.take("swarm", Err(anyhow::anyhow!("no root").context("cannot lay out a LAN")));
        assert_eq!(results.failed, ["swarm: cannot lay out a LAN: no root"]);
    }

    #[test]
    fn the_middle_of_rounds() {
        assert_eq!(middle(vec![3.0, 1.0, 2.0], |v| *v), Some(2.0));
        assert_eq!(middle(vec![3.0, 1.0], |v| *v), Some(1.0));
        assert_eq!(middle(Vec::<f64>::new(), |v| *v), None);
    }
}
