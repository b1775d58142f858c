//! Reports: out of order, of impossible times and numbers, too many, about others.

use serde_json::{Value, json};
use uuid::Uuid;
use wire::Code;

use crate::hostile::world::{Case, JSON, World};
use crate::support::facts;

fn numbered(seq: impl Into<Value>) -> Value {
    json!({ "seq": seq.into(), "at": "2030-01-01T08:00:00Z", "report": { "kind": "terminal-seen",
        "facts": facts("till-9", "k1") } })
}

fn batch(reports: impl Into<Value>) -> String {
    json!({ "epoch": Uuid::nil(), "reports": reports.into() }).to_string()
}

/// One report of which a part was replaced.
fn edited(pointer: &str, value: Value) -> String {
    let mut one = numbered(1);
    *one.pointer_mut(pointer).unwrap() = value;
    batch(vec![one])
}

fn failed(reason: Value) -> String {
    let update = json!({ "serial": 1, "product": "kiosk", "version": "1.0.0", "payload": "0".repeat(64), "from": null,
        "state": "failed", "segments_done": 0, "segments_total": 1, "reason": reason });
    let report = json!({ "kind": "update", "terminal": "till-1", "update": update });
    batch(vec![json!({ "seq": 1, "at": "2030-01-01T08:00:00Z", "report": report })])
}

pub fn cases(world: &World) -> Vec<Case> {
    let post = |name, body: String, code, says: &str| world.north(name, "POST /v1/reports", &[JSON], body, code, says);
    let deep = format!(
        "{{\"epoch\":\"{}\",\"reports\":[{{\"seq\":1,\"at\":\"2030-01-01T08:00:00Z\",\"report\":{{\"kind\":\"running\",\
         \"x\":{}",
        Uuid::nil(),
        "[".repeat(100_000)
    );
    vec![
        post("a gap inside", batch(vec![numbered(1), numbered(3)]), Code::BadField, "3 does not follow"),
        post("a report twice", batch(vec![numbered(1), numbered(1)]), Code::BadField, "1 does not follow"),
        post("before the first", batch(vec![numbered(0)]), Code::BadField, "0 is not a valid"),
        post(
            "a gap before",
            batch(vec![numbered(7)]),
            Code::ReportOutOfOrder,
            "Report 7 arrived, but report 1 is the next",
        ),
        post("the last number", batch(vec![numbered(u64::MAX)]), Code::BadField, "18446744073709551615"),
        post(
            "a number that no database holds",
            batch(vec![numbered(1_u64 << 63)]),
            Code::BadField,
            "9223372036854775808",
        ),
        post("far ahead", batch(vec![numbered(i64::MAX)]), Code::ReportOutOfOrder, "9223372036854775807"),
        post("below zero", batch(vec![numbered(-1)]), Code::BadField, "-1"),
        post("a number and a half", batch(vec![numbered(1.5)]), Code::BadField, "1.5"),
        post("a number beyond 64 bits", edited("/seq", json!(1e30)), Code::BadField, "1e+30"),
        post("201 reports", batch((1..=201).map(numbered).collect::<Vec<_>>()), Code::BatchTooLong, "201 reports"),
        post("the year 9999999", edited("/at", json!("9999999-01-01T00:00:00Z")), Code::BadField, "line 1"),
        post("the year 262142", edited("/at", json!("+262142-01-01T00:00:00Z")), Code::BadField, "262142"),
        post("the year 9999", edited("/at", json!("9999-01-01T00:00:00Z")), Code::BadField, "year 9999"),
        post("a leap second", edited("/at", json!("9998-12-31T23:59:60Z")), Code::BadField, "leap second"),
        post("before there were years", edited("/at", json!("-262143-01-01T00:00:00Z")), Code::BadField, "-262143"),
        post("no epoch", json!({ "epoch": "latest", "reports": [] }).to_string(), Code::BadField, "UUID"),
        post("a kind that is not text", edited("/report/kind", json!(["reboot"])), Code::BadField, "sequence"),
        post("an invented state", failed(json!(null)).replace("\"failed\"", "\"done\""), Code::BadField, "done"),
        post("an odd name", edited("/report/facts/name", json!("till 9\n")), Code::BadField, "till 9"),
        post("a negative disk", edited("/report/facts/slot_bytes", json!(-5)), Code::BadField, "-5"),
        post(
            "no slot",
            edited(
                "/report",
                json!({ "kind": "running", "terminal": "till-1", "slot": "C",
            "version": "1.0.0" }),
            ),
            Code::BadField,
            "C",
        ),
        post(
            "a reason of 1 MB",
            failed(json!({ "code": "x", "text": "x".repeat(1 << 20) })),
            Code::TooLarge,
            "1048576",
        ),
        post("a reason that is none", failed(json!([1])), Code::BadField, "line 1"),
        post("deep", deep, Code::JsonTooDeep, "nested"),
    ]
}
