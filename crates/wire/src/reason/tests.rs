use super::*;

fn parsed(json: &str) -> Reason {
    serde_json::from_str(json).unwrap()
}

#[test]
fn codes_are_distinct_valid_and_their_json_is_their_text() {
    let mut seen = std::collections::HashSet::new();
    for code in ReasonCode::ALL {
        assert!(seen.insert(code.as_str()), "{code} is listed twice");
        assert!(code.is_valid(), "{code}");
        assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        assert_eq!(ReasonCode::from(code.as_str()), *code);
    }
}

#[test]
fn templates_are_sentences_whose_parameters_have_valid_names() {
    for code in ReasonCode::ALL {
        let Some(template) = code.template() else { continue };
        assert!(template.ends_with('.') || template.ends_with('}'), "{code}: {template}");
        assert!(template.starts_with(|c: char| c.is_ascii_uppercase() || c == '{'), "{code}: {template}");
        let mut params = Params::default();
        for name in template::names(template) {
            params.insert(name, "1");
            assert_eq!(params.get(name), Some("1"), "{code}: {name}");
        }
        assert!(template::fill(template, &params).is_some(), "{code}: {template}");
    }
}

#[test]
fn an_unknown_code_of_a_newer_sender_round_trips_byte_for_byte() {
    for json in [
        r#"{"code":"fan-stuck","params":{"fan":"2","rpm":"0"},"text":"Fan 2 is stuck."}"#,
        r#"{"code":"fan-stuck","text":"Fan 2 is stuck."}"#,
    ] {
        let reason = parsed(json);
        assert!(matches!(&reason.code, ReasonCode::Other(_)) && reason.code == "fan-stuck");
        assert_eq!(reason.sentence(), "Fan 2 is stuck.");
        assert_eq!(serde_json::to_string(&reason).unwrap(), json);
    }
}

#[test]
fn an_older_sender_has_only_a_text_and_it_is_shown_as_it_is() {
    let json = r#"{"code":"data-full","text":"the data partition has 1 bytes free and 2 are needed: make room"}"#;
    let reason = parsed(json);
    assert_eq!(reason.code, ReasonCode::DataFull);
    assert_eq!(reason.sentence(), "the data partition has 1 bytes free and 2 are needed: make room");
    assert_eq!(serde_json::to_string(&reason).unwrap(), json);
}

#[test]
fn a_newer_sender_s_parameters_are_kept_and_the_own_template_is_used() {
    let json = r#"{"code":"data-full","params":{"disk":"sda3","free":"1048576","needed":2097152},"text":"Newer."}"#;
    let reason = parsed(json);
    assert_eq!((reason.params.get("disk"), reason.params.get("needed")), (Some("sda3"), Some("2097152")));
    assert_eq!(reason.sentence(), "The data partition has 1.0 MiB free, but 2.0 MiB are needed. Free up space on it.");
    assert_eq!(reason.text, "Newer.");
    let renamed = parsed(r#"{"code":"data-full","params":{"left":"1"},"text":"Newer still."}"#);
    assert_eq!(renamed.sentence(), "Newer still.", "a parameter of the template is missing");
}

#[test]
fn a_text_is_rendered_from_parameters_or_is_the_cause() {
    let full = Reason::of(ReasonCode::DataFull);
    assert_eq!(full.text, "data-full", "nothing else is known yet");
    let full = full.with("cause", "write: no space left on device");
    assert_eq!((full.text.as_str(), full.params.len()), ("write: no space left on device", 1));
    let broke = Reason::of(ReasonCode::WritingBroke).with("cause", "write slot B: I/O error");
    assert_eq!((broke.text.as_str(), broke.params.len()), ("write slot B: I/O error", 0), "it does not travel twice");
    assert_eq!(Reason::of(ReasonCode::Restarting).text, "Waiting for the requested restart.");
}

#[test]
fn texts_parameters_and_codes_are_bounded() {
    let long = "ж".repeat(5000);
    let mut reason = Reason::of(ReasonCode::FailedBefore).with("earlier", &long).with("Bad-Name", "x").with("", "x");
    reason = reason.with("product", "till").with("version", "1.0.0").with("bell", "a\u{7}b");
    assert_eq!(reason.params.get("earlier").unwrap().len(), MAX_PARAM_VALUE);
    assert_eq!((reason.params.len(), reason.params.get("bell")), (4, Some("a b")));
    for n in 0..20 {
        reason = reason.with(&format!("p{n}"), n);
    }
    assert_eq!(reason.params.len(), MAX_PARAMS);
    assert!(Reason::new("x", &long).text.len() <= MAX_REASON_LEN && reason.text.len() <= MAX_REASON_LEN);
    let many: Vec<String> = (0..50).map(|n| format!(r#""p{n}":"{long}""#)).collect();
    let read = parsed(&format!(r#"{{"code":"x","params":{{{},"l":[1]}},"text":"t"}}"#, many.join(",")));
    assert_eq!(read.params.len(), MAX_PARAMS);
    assert!(read.params.iter().all(|(_, value)| value.len() <= MAX_PARAM_VALUE));
    for (hostile, cleaned) in [("c\0".repeat(1000), "c-".repeat(32)), (String::new(), "-".into())] {
        let code = ReasonCode::from(hostile);
        assert!(!code.is_valid() && code.cleaned().is_valid());
        assert_eq!(code.cleaned().as_str(), cleaned);
    }
    assert_eq!(ReasonCode::DataFull.cleaned(), ReasonCode::DataFull);
}

#[test]
fn texts_are_one_printable_line_wherever_they_come_from() {
    let (raw, clean) = ("a\u{1b}[2Jb\nc\u{202e}d\u{61c}e\u{7f}", "a [2Jb c d e ");
    assert_eq!(Reason::new("x", raw).text, clean);
    assert_eq!(Reason::of(ReasonCode::WritingBroke).with("cause", raw).text, clean);
    let rendered = Reason::of(ReasonCode::WarningsOpen).with("rules", raw);
    assert!(rendered.text.contains(clean) && rendered.sentence().contains(clean), "{rendered:?}");
    assert_eq!(parsed(&serde_json::to_string(raw).unwrap()).text, clean);
    let object = serde_json::json!({"code": "x", "text": raw, "params": {"cause": raw}});
    assert_eq!(
        (parsed(&object.to_string()).text.as_str(), parsed(&object.to_string()).sentence()),
        (clean, clean.into())
    );
    let object = serde_json::json!({"code": "x", "text": "", "params": {"cause": raw}});
    assert_eq!(parsed(&object.to_string()).sentence(), clean);
}

#[test]
fn an_older_sender_s_plain_sentence_is_a_reason_without_a_class() {
    let reason = parsed(r#""The store is full.""#);
    assert_eq!((&reason.code, reason.params.len()), (&ReasonCode::Unclassified, 0));
    assert_eq!(reason.sentence(), "The store is full.");
    assert!(parsed(&format!("\"{}\"", "x".repeat(5000))).text.len() <= MAX_REASON_LEN);
    for odd in ["7", "[]", "{}", r#"{"code":"x"}"#, r#"{"text":"x"}"#] {
        assert!(serde_json::from_str::<Reason>(odd).is_err(), "{odd}");
    }
}

#[test]
fn reasons_that_differ_in_parameters_alone_read_the_same() {
    let full = |free: u64| Reason::of(ReasonCode::StoreFull).with("free", free).with("needed", 3_u64 << 30);
    assert!(full(2 << 30) != full((2 << 30) + 1) && full(2 << 30).reads_as(&full((2 << 30) + 1)));
    assert!(!full(2 << 30).reads_as(&full(1 << 30)));
    assert!(!Reason::new("a", "x").reads_as(&Reason::new("b", "x")));
}
