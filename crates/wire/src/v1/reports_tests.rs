use super::*;

#[test]
fn a_report_of_an_unknown_kind_is_read_as_unknown_and_does_not_hide_its_neighbours() {
    let json = r#"{"epoch":"6f2c1f0e-3f0a-4b7e-9a53-5b0d8c1f2a11","reports":[
        {"seq":1,"at":"2026-11-30T01:00:00Z","report":{"kind":"fan-speed","terminal":"till-1","rpm":[1,2]}},
        {"seq":2,"at":"2026-11-30T01:00:00Z","report":{"kind":"running","terminal":"till-1","slot":"A","version":"1.0.0"}}]}"#;
    let batch: Batch = serde_json::from_str(json).unwrap();
    let unknown = serde_json::json!({"kind": "fan-speed", "terminal": "till-1", "rpm": [1, 2]});
    let unknown = Report::Unknown(UnknownReport(unknown));
    assert_eq!((batch.reports[0].seq, &batch.reports[0].report), (1, &unknown));
    assert!(matches!(&batch.reports[1].report, Report::Running { terminal, .. } if terminal.as_str() == "till-1"));
    let relayed = serde_json::to_string(&unknown).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&relayed).unwrap(), unknown);
}

#[test]
fn an_unknown_report_is_written_as_it_was_read_and_its_kind_is_short_and_printable() {
    let json = r#"{"kind":"fan-speed","rpm":[1,2],"serial":18446744073709551615,"terminal":"till-1"}"#;
    let read: Report = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    let hostile = serde_json::json!({ "kind": format!("\u{1b}[2J\n{}", "ж".repeat(1000)) });
    let Report::Unknown(hostile) = serde_json::from_value(hostile).unwrap() else { panic!("it is unknown") };
    assert!(hostile.kind().starts_with(" [2J ж") && hostile.kind().len() <= MAX_KIND, "{:?}", hostile.kind());
}

#[test]
fn every_known_kind_is_in_the_list() {
    // The derived reader names all that it knows.
    let error = serde_json::from_str::<Derived>(r#"{"kind":"unheard-of"}"#).unwrap_err().to_string();
    let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
    assert_eq!(known, KINDS, "{error}");
}

/// A report as only the derived reader reads it.
#[derive(Debug)]
struct Derived;

impl<'de> Deserialize<'de> for Derived {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Report::deserialize(d).map(|_| Self)
    }
}

#[test]
fn reasons_of_branch_servers_are_objects_and_those_of_older_ones_sentences() {
    let digest = "a".repeat(64);
    let artifact = |trouble: &str| {
        let json = format!(
            r#"{{"kind":"artifact","artifact":"{digest}","have_bytes":1,"complete":false,"trouble":{trouble}}}"#
        );
        match serde_json::from_str(&json).unwrap() {
            Report::Artifact { trouble, .. } => trouble.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let refused = |reason: &str| match serde_json::from_str(&format!(
        r#"{{"kind":"plan-refused","serial":7,"reason":{reason}}}"#
    ))
    .unwrap()
    {
        Report::PlanRefused { reason, .. } => reason.unwrap(),
        other => panic!("{other:?}"),
    };
    for read in [&artifact as &dyn Fn(&str) -> Reason, &refused] {
        assert_eq!(read(r#""No peers.""#), Reason::new(ReasonCode::Unclassified, "No peers."));
        let known = Reason::of(ReasonCode::StoreFull).with("free", 1 << 30).with("needed", 2 << 30);
        assert_eq!(read(&serde_json::to_string(&known).unwrap()), known);
        let newer = read(r#"{"code":"fan-stuck","params":{"fan":"2"},"text":"Fan 2 is stuck."}"#);
        assert!(newer.code == "fan-stuck" && newer.params.get("fan") == Some("2"));
        assert_eq!(newer.sentence(), "Fan 2 is stuck.");
    }
}

#[test]
fn a_known_kind_with_an_invalid_field_is_still_an_error() {
    let read = |json: &str| serde_json::from_str::<Report>(json);
    assert!(read(r#"{"kind":"running","terminal":"till-1"}"#).is_err());
    assert!(read(r#"{"terminal":"till-1"}"#).is_err(), "no kind at all");
    assert!(read(r#"{"kind":7}"#).is_err() && read("[]").is_err() && read("7").is_err(), "no kind as text");
    assert!(matches!(read(r#"{"kind":"unheard-of"}"#).unwrap(), Report::Unknown(_)));
}
