//! How a reason is read out of a table: JSON beside the text that earlier versions know.
//!
//! An earlier version of a program writes the text alone, while an update of it is rolled back. JSON that does not belong to
//! the text is older than it and is not used.

use super::{Reason, ReasonCode};

/// Returns the reason of a row: its JSON if that belongs to text and code, else the text with the code, if it has one.
pub fn from_columns(json: Option<serde_json::Value>, code: Option<&str>, text: String) -> Reason {
    let stored: Option<Reason> = json.and_then(|json| serde_json::from_value(json).ok());
    let belongs = |r: &Reason| r.text == fleet_types::printable(&text) && code.is_none_or(|code| r.code == code);
    match stored.filter(belongs) {
        Some(reason) => reason,
        None => Reason::new(code.map_or(ReasonCode::Unclassified, ReasonCode::from), text),
    }
}

/// Returns the reasons of a row: as [`from_columns`], where JSON is a list and the text has all sentences.
pub fn all_from_columns(json: Option<serde_json::Value>, text: String) -> Vec<Reason> {
    let stored: Vec<Reason> = json.and_then(|json| serde_json::from_value(json).ok()).unwrap_or_default();
    let texts: Vec<&str> = stored.iter().map(|r| r.text.as_str()).collect();
    if texts.join(" ") == fleet_types::printable(&text) {
        stored
    } else {
        vec![Reason::new(ReasonCode::Unclassified, text)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_s_json_counts_while_it_belongs_to_the_text_beside_it() {
        let full = Reason::of(ReasonCode::DataFull).with("free", 1).with("needed", 2);
        let json = || Some(serde_json::to_value(&full).unwrap());
        assert_eq!(from_columns(json(), None, full.text.clone()), full);
        assert_eq!(from_columns(json(), Some("data-full"), full.text.clone()), full);
        let newer = Reason::new(ReasonCode::Unhealthy, "The check failed.");
        assert_eq!(
            from_columns(json(), Some("unhealthy"), newer.text.clone()),
            newer,
            "an earlier version wrote text and code"
        );
        assert_eq!(from_columns(None, None, "Slow.".into()), Reason::new(ReasonCode::Unclassified, "Slow."));
        let raw = serde_json::json!({"code": "x", "params": {"fan": "2"}, "text": "Fan\n2."});
        let stored = from_columns(Some(raw), None, "Fan\n2.".into());
        assert_eq!(
            (stored.text.as_str(), stored.params.len()),
            ("Fan 2.", 1),
            "stored by a version that cleaned nothing"
        );
        assert_eq!(from_columns(Some("odd".into()), None, "Slow.".into()).sentence(), "Slow.");
    }

    #[test]
    fn a_row_s_list_counts_while_it_belongs_to_the_text_beside_it() {
        let two =
            vec![Reason::of(ReasonCode::WarningsOpen).with("rules", "external"), Reason::of(ReasonCode::UploadExpired)];
        let (json, text) = (serde_json::to_value(&two).unwrap(), super::super::sentences(&two));
        assert_eq!(all_from_columns(Some(json.clone()), text), two);
        let other = all_from_columns(Some(json), "No longer.".into());
        assert_eq!(other, [Reason::new(ReasonCode::Unclassified, "No longer.")]);
    }
}
