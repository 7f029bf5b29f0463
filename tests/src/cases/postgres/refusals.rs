//! What is refused: the row, and not its neighbours.

use tidegate::message::{Message, Reason};
use tidegate::sink::{Sink, Written};

use super::{Store, failure, message, sink, some, value};

/// Code, pointer and index of each refusal; the message must not hold the values.
fn refusals(written: &Written) -> Vec<(usize, String, Option<String>)> {
    let told = |(index, reason): &(usize, Reason)| {
        assert!(!reason.message.contains("secret"), "{reason:?}");
        (*index, reason.code.to_string(), reason.pointer.clone())
    };
    written.refused.iter().map(told).collect()
}

fn at(pointer: &str) -> Option<String> {
    Some(pointer.to_owned())
}

#[tokio::test]
async fn one_bad_row_of_many_is_found_and_the_others_are_stored_in_order() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v varchar(20))").await;
    let mut batch: Vec<Message> = (0..128).map(|number| value(&format!("m{number}"))).collect();
    batch[77] = value("secret that is longer than twenty");
    let written = store.sink(&["v"]).write(&batch).await.unwrap();
    assert_eq!(refusals(&written), [(77, "sqlstate_22001".to_owned(), at("/v"))]);
    assert!(written.refused[0].1.message.contains("takes 20 characters at most"), "{written:?}");
    let stored = (0..128).filter(|number| *number != 77).map(|number| Some(format!("m{number}")));
    assert_eq!(store.column("v").await, stored.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_of_bad_rows_is_refused_row_by_row() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v integer)").await;
    let batch = vec![value("secret"); 100];
    let mut sink = store.sink(&["v"]);
    let written = sink.write(&batch).await.unwrap();
    let expected = |index| (index, "sqlstate_22P02".to_owned(), at("/v"));
    assert_eq!(refusals(&written), (0..100).map(expected).collect::<Vec<_>>());
    sink.write(&[value("5")]).await.unwrap();
    assert_eq!(store.column("v").await, some(&["5"]));
}

#[tokio::test]
async fn nothing_is_cut_to_fit() {
    let table = "
        CREATE DOMAIN short AS varchar(3);
        CREATE TABLE t (n bigserial PRIMARY KEY, a varchar(3), b char(3), c short, d varchar(3)[])";
    let store = Store::with(table).await;
    let bodies = [r#"{"a":"secret"}"#, r#"{"b":"secret"}"#, r#"{"c":"secret"}"#, r#"{"d":"{secret}"}"#, r#"{"a":"abc"}"#];
    let batch: Vec<Message> = bodies.into_iter().map(message).collect();
    let written = store.sink(&["a", "b", "c", "d"]).write(&batch).await.unwrap();
    let codes: Vec<_> = refusals(&written).into_iter().map(|(index, code, _)| (index, code)).collect();
    assert_eq!(codes, [0, 1, 2, 3].map(|index| (index, "sqlstate_22001".to_owned())));
    assert_eq!(store.column("a").await, some(&["abc"]));
}

#[tokio::test]
async fn a_column_counts_characters_and_not_bytes() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v varchar(255))").await;
    let (fits, exceeds) = ("한".repeat(255), "한".repeat(256));
    let written = store.sink(&["v"]).write(&[value(&exceeds), value(&fits)]).await.unwrap();
    assert_eq!(refusals(&written), [(0, "sqlstate_22001".to_owned(), at("/v"))]);
    assert_eq!(store.column("v").await, [Some(fits)]);
}

#[tokio::test]
async fn what_the_host_can_tell_never_reaches_the_database() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v text)").await;
    let batch = [message("{\"v\":\"se\\u0000cret\"}"), message("secret"), message("{\"v\":\"\\udc00\"}"), value("good")];
    let written = store.sink(&["v"]).write(&batch).await.unwrap();
    let expected = [
        (0, "nul_not_storable".to_owned(), at("/v")),
        (1, "not_json".to_owned(), None),
        (2, "lone_surrogate".to_owned(), at("/v")),
    ];
    assert_eq!(refusals(&written), expected);
    assert_eq!(store.column("v").await, some(&["good"]));
}

#[tokio::test]
async fn a_column_that_must_be_sealed_takes_nothing_in_clear() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v text)").await;
    let mut settings = store.settings(&["v"]);
    settings.require_sealed = vec!["v".to_owned()];
    let mut batch = vec![value("tg1.aes-256-gcm.k1.secret"), value("tg1.aes-256-gcm.k1.AAAA")];
    batch[1].sealed.push(tidegate::message::SealedField { pointer: super::pointer("/v"), key_id: "k1".into() });
    let written = sink(settings).write(&batch).await.unwrap();
    assert_eq!(refusals(&written), [(0, "not_sealed".to_owned(), at("/v"))]);
    assert_eq!(store.column("v").await, some(&["tg1.aes-256-gcm.k1.AAAA"]));
}

#[tokio::test]
async fn constraints_are_named_and_values_are_not() {
    let table = "
        CREATE TABLE t (n bigserial PRIMARY KEY, v text UNIQUE, w text NOT NULL, x integer CONSTRAINT is_small CHECK (x < 10));
        INSERT INTO t (v, w) VALUES ('secret-twin', '')";
    let store = Store::with(table).await;
    let bodies = [
        r#"{"v":"secret-twin","w":""}"#,
        r#"{"v":"a"}"#,
        r#"{"v":"b","w":"secret","x":11}"#,
        r#"{"v":"c","w":"","x":"secret"}"#,
        r#"{"v":"d","w":"","x":"9"}"#,
    ];
    let batch: Vec<Message> = bodies.into_iter().map(message).collect();
    let written = store.sink(&["v", "w", "x"]).write(&batch).await.unwrap();
    let expected = [
        (0, "sqlstate_23505".to_owned(), None),
        (1, "sqlstate_23502".to_owned(), at("/w")),
        (2, "sqlstate_23514".to_owned(), None),
        (3, "sqlstate_22P02".to_owned(), at("/x")),
    ];
    assert_eq!(refusals(&written), expected);
    let messages: Vec<&str> = written.refused.iter().map(|(_, reason)| reason.message.as_str()).collect();
    assert!(messages[0].contains("t_v_key") && messages[1].contains("\"w\"") && messages[2].contains("is_small"), "{messages:?}");
    assert_eq!(store.column("v").await, some(&["secret-twin", "d"]));
}

#[tokio::test]
async fn a_row_larger_than_an_index_takes_is_refused_alone() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v text); CREATE INDEX ON t (v)").await;
    // Text that does not compress.
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap())
    };
    let large: String = (0..20_000).map(|_| letter()).collect();
    let written = store.sink(&["v"]).write(&[value("a"), value(&large), value("b")]).await.unwrap();
    assert_eq!(refusals(&written), [(1, "sqlstate_54000".to_owned(), None)]);
    assert_eq!(store.column("v").await, some(&["a", "b"]));
}

/// Refuses `v = 'bad'` under this code.
fn trigger(code: &str) -> String {
    format!(
        "CREATE TABLE t (n bigserial PRIMARY KEY, v text);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.v = 'bad' THEN RAISE EXCEPTION 'secret: %', NEW.v USING ERRCODE = '{code}'; END IF; RETURN NEW;
         END $$;
         CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"
    )
}

#[tokio::test]
async fn a_trigger_that_raises_an_exception_refuses_its_row() {
    let store = Store::with(&trigger("P0001")).await;
    let written = store.sink(&["v"]).write(&[value("bad")]).await.unwrap();
    assert_eq!(refusals(&written), [(0, "sqlstate_P0001".to_owned(), None)]);
}

#[tokio::test]
async fn a_code_that_nobody_knows_is_the_rows_fault_only_where_others_pass() {
    let store = Store::with(&trigger("TG001")).await;
    let mut sink = store.sink(&["v"]);
    let written = sink.write(&[value("good"), value("bad"), value("fine")]).await.unwrap();
    assert_eq!(refusals(&written), [(1, "sqlstate_TG001".to_owned(), None)]);
    let error = failure(&mut sink, &[value("bad"), value("bad")]).await;
    assert_eq!((&*error.code, error.needs_operator), ("sqlstate_TG001", true));
    assert_eq!(store.column("v").await, some(&["good", "fine"]));
}
