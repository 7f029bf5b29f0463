use serde_json::{Value, json};
use tidegate_plugin::testing::{Incoming, settings_problems, verdicts};
use tidegate_plugin::{Reason, Validator};

use super::{Rules, ValidateMessage};

fn with_settings(settings: &Value, body: impl AsRef<[u8]>) -> Result<(), Reason> {
    let step = ValidateMessage::from_settings(&settings.to_string()).unwrap();
    verdicts(&step, &[Incoming::new(body.as_ref())]).remove(0)
}

fn check(body: impl AsRef<[u8]>) -> Result<(), Reason> {
    with_settings(&json!({}), body)
}

/// A whole, valid body.
fn whole() -> Value {
    json!({
        "id": "user-1", "sub_id": "sub-1", "publisher_information": { "message_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7" },
        "message": { "content": "Hello, world!", "server_name": "MainServer", "command": "say" },
    })
}

/// The whole body with another value at a pointer, or with none.
fn with(pointer: &str, value: Option<Value>) -> String {
    let mut body = whole();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(key.to_owned(), value),
        None => parent.remove(key),
    };
    body.to_string()
}

fn refused(body: impl AsRef<[u8]>, code: &str, pointer: Option<&str>) {
    let reason = check(&body).expect_err(&String::from_utf8_lossy(body.as_ref()));
    assert_eq!(
        (reason.code.as_str(), reason.pointer.as_deref()),
        (code, pointer),
        "{reason:?} of {}",
        String::from_utf8_lossy(body.as_ref())
    );
}

#[test]
fn f1_f2_a_whole_message_and_the_smallest_one_pass() {
    assert_eq!(check(whole().to_string()), Ok(()));
    assert_eq!(check(r#"{"id":"u","sub_id":"s","message":{"content":"x"}}"#), Ok(()));
}

#[test]
fn f8_empty_strings_pass() {
    assert_eq!(check(r#"{"id":"","sub_id":"","message":{"content":"","server_name":"","command":""}}"#), Ok(()));
}

#[test]
fn f9_a_required_field_that_is_missing_is_named() {
    for pointer in ["/id", "/sub_id", "/message", "/message/content"] {
        refused(with(pointer, None), "missing", Some(pointer));
    }
}

#[test]
fn f9_f12_a_field_of_another_type_is_named() {
    for pointer in ["/id", "/sub_id", "/message/content", "/message/server_name", "/message/command"] {
        for value in [json!(null), json!(5), json!(true), json!([]), json!({})] {
            refused(with(pointer, Some(value)), "wrong_type", Some(pointer));
        }
    }
    for value in [json!(null), json!("text"), json!([])] {
        refused(with("/message", Some(value)), "wrong_type", Some("/message"));
    }
}

#[test]
fn f10_what_is_not_json_is_refused_as_a_whole() {
    let bodies: [&[u8]; 10] = [
        b"",
        b"not json",
        br#"{"id":"u","sub_id":"s","message":{"content":"x"},}"#,
        br#"{"id":"u","sub_id":"s","message":{"content":"x"}} x"#,
        b"{\"id\":\"\xff\",\"sub_id\":\"s\",\"message\":{\"content\":\"x\"}}",
        br#"{"id":"u","sub_id":"s","message":{"content":"\ud800"}}"#,
        br#"{"id":"u","sub_id":"s","message":{"content":"x"},"other":"\udfff"}"#,
        br#"// {"id":"u"}"#,
        br#"{"id":"u","sub_id":"s","message":{"content":"x"}"#,
        br#"{"id":"u","sub_id":"s","message":{"content":"x"},"other":01}"#,
    ];
    for body in bodies {
        refused(body, "not_json", None);
    }
    refused("[]", "wrong_type", None);
    refused("\"text\"", "wrong_type", None);
}

#[test]
fn f10_depth_32_passes_and_33_does_not_wherever_it_is() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let body = |depth: usize| format!(r#"{{"id":"u","sub_id":"s","message":{{"content":"x"}},"unknown":{}}}"#, nested(depth - 1));
    assert_eq!(check(body(32)), Ok(()));
    refused(body(33), "too_deep", None);
    let inner =
        |depth: usize| format!(r#"{{"id":"u","sub_id":"s","message":{{"content":"x","unknown":{}}}}}"#, nested(depth - 2));
    assert_eq!(check(inner(32)), Ok(()));
    refused(inner(33), "too_deep", None);
}

#[test]
fn f11_a_byte_order_mark_at_the_start_passes() {
    assert_eq!(check("\u{feff}".to_owned() + &whole().to_string()), Ok(()));
    refused(whole().to_string() + "\u{feff}", "not_json", None);
}

#[test]
fn f13_lengths_count_characters_not_bytes() {
    for pointer in ["/id", "/sub_id"] {
        assert_eq!(check(with(pointer, Some(json!("한".repeat(255))))), Ok(()));
        refused(with(pointer, Some(json!("한".repeat(256)))), "too_long", Some(pointer));
    }
    assert_eq!(check(with("/message/server_name", Some(json!("😀".repeat(100))))), Ok(()));
    refused(with("/message/server_name", Some(json!("a".repeat(101)))), "too_long", Some("/message/server_name"));
}

#[test]
fn f13_an_escape_counts_as_the_character_that_it_stands_for() {
    let body = |count: usize| whole().to_string().replace("user-1", &r"\ud83d\ude00".repeat(count));
    assert_eq!(check(body(255)), Ok(()));
    refused(body(256), "too_long", Some("/id"));
}

#[test]
fn f14_nul_in_content_passes_unless_the_settings_forbid_it() {
    let body = with("/message/content", Some(json!("a\0b")));
    assert_eq!(check(&body), Ok(()));
    let reason = with_settings(&json!({ "allow_nul": false }), &body).unwrap_err();
    assert_eq!((reason.code.as_str(), reason.pointer.as_deref()), ("nul", Some("/message/content")));
}

#[test]
fn nul_in_what_is_stored_in_clear_is_refused_before_anything_is_broadcast() {
    for pointer in ["/id", "/sub_id", "/message/server_name"] {
        refused(with(pointer, Some(json!("a\0b"))), "nul", Some(pointer));
    }
}

#[test]
fn f15_quotes_backslashes_and_sql_pass() {
    assert_eq!(check(with("/message/content", Some(json!(r#""'\ '); DROP TABLE messages; --"#)))), Ok(()));
}

#[test]
fn f16_publisher_information_is_an_object_unless_the_settings_say_otherwise() {
    for value in [json!(null), json!("text"), json!([1]), json!(5)] {
        let body = with("/publisher_information", Some(value));
        refused(&body, "wrong_type", Some("/publisher_information"));
        assert_eq!(with_settings(&json!({ "strict_publisher": false }), &body), Ok(()));
    }
}

#[test]
fn f17_of_duplicate_keys_the_last_value_counts() {
    assert_eq!(check(r#"{"id":5,"sub_id":"s","id":"u","message":7,"message":{"content":null,"content":"x"}}"#), Ok(()));
    refused(r#"{"id":"u","sub_id":"s","message":{"content":"x"},"\u0069d":5}"#, "wrong_type", Some("/id"));
    refused(r#"{"id":"u","sub_id":"s","message":{"content":"x"},"message":{}}"#, "missing", Some("/message/content"));
}

#[test]
fn content_is_measured_in_bytes_after_its_escapes() {
    let check = |content: &str| {
        let body = format!(r#"{{"id":"u","sub_id":"s","message":{{"content":"{content}"}}}}"#);
        with_settings(&json!({ "content_max_bytes": 6 }), body).map_err(|reason| (reason.code, reason.pointer))
    };
    assert_eq!(check("한한"), Ok(()));
    assert_eq!(check(r"\ud55c\ud55c"), Ok(()));
    assert_eq!(check("한한."), Err(("too_large".to_owned(), Some("/message/content".to_owned()))));
}

#[test]
fn the_default_limit_of_content_is_64_kib() {
    let body = |bytes: usize| with("/message/content", Some(json!("x".repeat(bytes))));
    assert_eq!(check(body(65_536)), Ok(()));
    refused(body(65_537), "too_large", Some("/message/content"));
}

#[test]
fn reasons_never_hold_content() {
    let secret = "s3cret";
    let bodies = [
        secret.to_owned(),
        format!("{{\"{secret}\":\"{secret}"),
        with("/message/content", Some(json!([secret]))),
        with("/id", Some(json!(secret.repeat(99)))),
    ];
    for body in bodies {
        let reason = check(&body).unwrap_err();
        assert!(!format!("{reason:?}").contains(secret), "{reason:?}");
    }
}

#[test]
fn the_schema_and_the_settings_say_the_same() {
    assert_eq!(settings_problems::<Rules>(), Vec::<String>::new());
}

#[test]
fn a_limit_of_zero_and_an_unknown_setting_are_refused() {
    let refused = |settings| ValidateMessage::from_settings(settings).unwrap_err();
    assert_eq!(refused(r#"{"content_max_bytes":0}"#).pointer.as_deref(), Some("/content_max_bytes"));
    assert_eq!(refused(r#"{"content_max_bytes":-1}"#).pointer.as_deref(), Some("/content_max_bytes"));
    assert!(refused(r#"{"content_max":1}"#).message.contains("expected one of `content_max_bytes`"));
}
