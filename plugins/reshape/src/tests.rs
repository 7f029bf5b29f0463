use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_plugin::testing::{Incoming, outcomes, settings_problems};
use tidegate_plugin::{Outcome, Reason, Transformer};

use super::{Changes, Reshape};

fn run(settings: &Value, body: impl AsRef<[u8]>) -> Outcome {
    let step = Reshape::from_settings(&settings.to_string()).unwrap();
    outcomes(&step, &[Incoming::new(body)]).remove(0)
}

/// The new body; the old one where nothing changes.
fn reshaped(settings: &Value, body: &str) -> String {
    match run(settings, body) {
        Outcome::Replace(body) => String::from_utf8(body).unwrap(),
        Outcome::Keep => body.to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_default_is_set_where_nothing_stands_and_nowhere_else() {
    let settings = json!({ "defaults": { "/message/server_name": "MainServer" } });
    assert_eq!(
        reshaped(&settings, r#"{"message":{"content":"x"}}"#),
        r#"{"message":{"content":"x","server_name":"MainServer"}}"#
    );
    assert_eq!(reshaped(&settings, r#"{}"#), r#"{"message":{"server_name":"MainServer"}}"#);
    for body in [r#"{"message":{"server_name":"A"}}"#, r#"{"message":{"server_name":null}}"#, r#"{"message":"text"}"#, "[]", "5"]
    {
        assert_eq!(run(&settings, body), Outcome::Keep, "{body}");
    }
}

#[test]
fn a_default_is_set_where_a_duplicate_hides_what_stands() {
    let settings = json!({ "defaults": { "/m/a": 1, "/m/b": 2 } });
    assert_eq!(reshaped(&settings, r#"{"m":{"a":0,"b":0},"m":{"a":0}}"#), r#"{"m":{"a":0,"b":0},"m":{"a":0,"b":2}}"#);
    assert_eq!(reshaped(&settings, r#"{"m":{"a":0,"a":0}}"#), r#"{"m":{"a":0,"a":0,"b":2}}"#);
    for body in [r#"{"m":{"b":0,"a":0}}"#, r#"{"m":{"a":0,"a":0,"\u0062":0}}"#, r#"{"m":[]}"#, r#"{"m":{"b":0,"a":0},"m":5}"#] {
        assert_eq!(run(&settings, body), Outcome::Keep, "{body}");
    }
}

#[test]
fn defaults_may_be_many_and_stand_in_each_other_and_in_arrays() {
    let many: BTreeMap<_, _> = (0..70).map(|index| (format!("/field-number-{index}"), index)).collect();
    let body = Value::from_iter(many.iter().map(|(at, value)| (at.trim_start_matches('/').to_owned(), *value))).to_string();
    assert_eq!(run(&json!({ "defaults": many }), &body), Outcome::Keep);
    let settings = json!({ "defaults": { "/a": {}, "/a/b": 1, "/list/0/c": 2 } });
    assert_eq!(reshaped(&settings, r#"{"list":[{}]}"#), r#"{"list":[{"c":2}],"a":{"b":1}}"#);
    assert_eq!(run(&settings, r#"{"a":{"b":null},"list":[{"c":{}}]}"#), Outcome::Keep);
}

#[test]
fn a_default_may_be_any_json() {
    let settings = json!({ "defaults": { "/a": { "b": [1, null] }, "/c/d~1e": 1.5 } });
    assert_eq!(reshaped(&settings, "{}"), r#"{"a":{"b":[1,null]},"c":{"d/e":1.5}}"#);
}

#[test]
fn a_value_moves_with_its_text_and_objects_are_made_on_its_way() {
    let settings = json!({ "rename": { "/a/b": "/x/y/z" } });
    assert_eq!(reshaped(&settings, r#"{"a": {"b" : 1.50e+3 , "c":2}}"#), r#"{"a":{"c":2},"x":{"y":{"z":1.50e+3}}}"#);
    assert_eq!(run(&settings, r#"{"a":{}}"#), Outcome::Keep);
}

#[test]
fn a_value_that_moves_takes_the_place_of_what_stands_there() {
    assert_eq!(reshaped(&json!({ "rename": { "/a": "/b" } }), r#"{"b":1,"c":2,"a":3}"#), r#"{"b":3,"c":2}"#);
}

#[test]
fn two_fields_can_swap_places_and_one_can_move_below_itself() {
    assert_eq!(reshaped(&json!({ "rename": { "/a": "/b", "/b": "/a" } }), r#"{"a":1,"b":2}"#), r#"{"b":1,"a":2}"#);
    assert_eq!(reshaped(&json!({ "rename": { "/a": "/a/b" } }), r#"{"a":1}"#), r#"{"a":{"b":1}}"#);
}

#[test]
fn a_value_that_cannot_move_is_not_lost() {
    let settings = json!({ "rename": { "/a": "/b/c" } });
    let Outcome::Reject(Reason { code, pointer, .. }) = run(&settings, r#"{"a":1,"b":"text"}"#) else { panic!("rejected") };
    assert_eq!((code.as_str(), pointer.as_deref()), ("in_the_way", Some("/b/c")));
}

#[test]
fn what_is_removed_is_gone_with_its_duplicates() {
    let settings = json!({ "remove": ["/secret", "/list/1"] });
    assert_eq!(reshaped(&settings, r#"{"secret":1,"a":2,"secret":3,"list":[1,2,3]}"#), r#"{"a":2,"list":[1,3]}"#);
    assert_eq!(run(&settings, r#"{"a":{"secret":1},"list":[1]}"#), Outcome::Keep);
}

#[test]
fn what_is_redacted_is_gone_whatever_it_was_and_however_its_key_is_written() {
    let settings = json!({ "redact": ["/card", "/list/0"], "redact_with": "\"***\"" });
    let body = r#"{"\u0063ard":{"number":"4111"},"list":["4111",2],"card":4111}"#;
    assert_eq!(reshaped(&settings, body), r#"{"\u0063ard":"\"***\"","list":["\"***\"",2],"card":"\"***\""}"#);
    assert_eq!(reshaped(&json!({ "redact": ["/a"] }), r#"{"a":null}"#), r#"{"a":"[redacted]"}"#);
}

#[test]
fn nothing_is_left_in_a_duplicate_of_an_object_on_the_way() {
    let body = r#"{"m":{"s":"4111"},"m":{"s":"4111","t":1}}"#;
    for settings in [
        json!({ "redact": ["/m/s"] }),
        json!({ "remove": ["/m/s"] }),
        json!({ "rename": { "/m/s": "/gone" }, "remove": ["/gone"] }),
    ] {
        assert!(!reshaped(&settings, body).contains("4111"), "{settings}");
    }
}

#[test]
fn a_shadowed_value_does_not_come_back_by_moving() {
    let settings = json!({ "rename": { "/m/s": "/s" } });
    assert_eq!(reshaped(&settings, r#"{"m":{"s":"old"},"m":{}}"#), r#"{"m":{},"m":{}}"#);
}

#[test]
fn what_is_redacted_already_stays_as_it_is() {
    assert_eq!(run(&json!({ "redact": ["/a"] }), r#"{ "a" : "[redacted]" }"#), Outcome::Keep);
}

#[test]
fn the_order_is_rename_defaults_remove_redact() {
    let settings = json!({ "rename": { "/old": "/new" }, "defaults": { "/new": 0, "/d": 1, "/r": 2 }, "remove": ["/d"], "redact": ["/r", "/new"] });
    assert_eq!(reshaped(&settings, r#"{"old":5}"#), r#"{"new":"[redacted]","r":"[redacted]"}"#);
}

#[test]
fn key_order_number_texts_and_what_is_not_touched_stay_to_the_letter() {
    let body = r#"{"z":1.0,"a":12345678901234567890123.10,"n":{ "k" : [ 1 , 2 ] },"e":"\u0041\/","gone":1}"#;
    let expected = r#"{"z":1.0,"a":12345678901234567890123.10,"n":{ "k" : [ 1 , 2 ] },"e":"\u0041\/"}"#;
    assert_eq!(reshaped(&json!({ "remove": ["/gone"] }), body), expected);
}

#[test]
fn a_byte_order_mark_goes_when_the_body_changes() {
    assert_eq!(reshaped(&json!({ "remove": ["/a"] }), "\u{feff}{\"a\":1}"), "{}");
    assert_eq!(run(&json!({ "remove": ["/b"] }), "\u{feff}{\"a\":1}"), Outcome::Keep);
}

#[test]
fn what_is_not_json_is_rejected_even_where_nothing_is_to_change() {
    for (body, expected) in [("", "not_json"), ("{\"a\":1,}", "not_json"), (&"[".repeat(200) as &str, "too_deep")] {
        let Outcome::Reject(reason) = run(&json!({}), body) else { panic!("rejected") };
        assert_eq!((reason.code.as_str(), reason.pointer), (expected, None));
    }
    assert_eq!(run(&json!({}), "{}"), Outcome::Keep);
    let settings = json!({ "defaults": { "/a": 1 } });
    for body in [r#"{"a":1}x"#, r#"{"a":1,"b":}"#, r#"{"a":"x}"#, r#"{"b":01}"#] {
        let Outcome::Reject(reason) = run(&settings, body) else { panic!("rejected") };
        assert_eq!(reason.code, "not_json", "{body}");
    }
}

#[test]
fn what_is_no_pointer_is_refused_by_the_name_of_its_setting() {
    for (settings, at) in [
        (json!({ "rename": { "/a": "b" } }), "/rename"),
        (json!({ "defaults": { "": 1 } }), "/defaults"),
        (json!({ "remove": ["a.b"] }), "/remove"),
        (json!({ "redact": ["/~2"] }), "/redact"),
    ] {
        assert_eq!(Reshape::from_settings(&settings.to_string()).unwrap_err().pointer.as_deref(), Some(at));
    }
}

#[test]
fn the_schema_and_the_settings_say_the_same() {
    assert_eq!(settings_problems::<Changes>(), Vec::<String>::new());
}
