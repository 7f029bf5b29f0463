//! What is stored.

use tidegate::message::SealedField;
use tidegate::sink::Sink;
use tidegate::sink::columns::{Column, Value};

use super::{Store, column, id_column, message, pointer, sink, some, value, with_id};

#[tokio::test]
async fn values_are_stored_to_the_letter_and_in_order() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v text)").await;
    let mut sink = store.sink(&["v"]);
    let mut texts: Vec<String> = (0..1500).map(|number| format!("m{number}")).collect();
    texts.extend(["'); DROP TABLE t; --", "\"\\$1{},NULL", "NULL", "", " \u{1F600}\t\r\n ", "\\x00"].map(str::to_owned));
    for texts in texts.chunks(400) {
        let batch: Vec<_> = texts.iter().map(|text| value(text)).collect();
        let written = sink.write(&batch).await.unwrap();
        assert_eq!((written.refused.len(), written.duplicates, written.unheard), (0, 0, 0));
    }
    assert_eq!(store.column("v").await, texts.into_iter().map(Some).collect::<Vec<_>>());
    assert!(sink.write(&[]).await.is_ok());
}

#[tokio::test]
async fn p4_a_batch_with_more_values_than_a_statement_takes_parameters_is_stored_whole() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, a text, b text, c text, d text)").await;
    let mut settings = store.settings(&["a", "b", "c", "d"]);
    settings.timeout = std::time::Duration::from_secs(30);
    let batch: Vec<_> = (0..20_000).map(|number| message(format!(r#"{{"a":"{number}","b":"x","c":"y","d":"z"}}"#))).collect();
    let written = sink(settings).write(&batch).await.unwrap();
    assert_eq!(written.refused.len(), 0);
    assert_eq!(store.column("a").await, (0..20_000).map(|number| Some(number.to_string())).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_text_becomes_whatever_its_column_is() {
    let table = "
        CREATE TYPE mood AS ENUM ('calm', 'wild');
        CREATE DOMAIN short AS varchar(5);
        CREATE TABLE t (n bigserial PRIMARY KEY, a jsonb, b boolean, c integer, d timestamptz, e uuid, f bytea, g mood, h text[],
                        i numeric(6, 2), j char(4), k short, l json)";
    let store = Store::with(table).await;
    let mut sink = store.sink(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]);
    let body = r#"{"a":{"x": [1,2]},"b":true,"c":-7,"d":"2026-01-02T03:04:05Z","e":"00000000-0000-0000-0000-00000000000a",
        "f":"a\\b\u00e9","g":"wild","h":"{p,\"q r\"}","i":1.505,"j":"ab","k":"abcde","l":{"x": 1.0}}"#;
    sink.write(&[message(body), message("{}")]).await.unwrap();
    let read = "concat_ws('|', a, b, c, d AT TIME ZONE 'UTC', e, encode(f, 'hex'), g, h, i, j, k, l)";
    let expected = r#"{"x": [1, 2]}|t|-7|2026-01-02 03:04:05|00000000-0000-0000-0000-00000000000a|615c62c3a9|wild|{p,"q r"}|1.51|ab  |abcde|{"x": 1.0}"#;
    assert_eq!(store.column(read).await, some(&[expected, ""]));
}

#[tokio::test]
async fn the_same_id_twice_is_one_row_and_no_id_is_a_row_each_time() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, id text UNIQUE, v text)").await;
    let mut settings = store.settings(&["v"]);
    settings.columns.push(id_column("id"));
    settings.idempotent_by = Some("id".to_owned());
    let mut sink = sink(settings);
    let first = [with_id("a", value("1")), with_id("a", value("2")), value("3"), value("3")];
    assert_eq!(sink.write(&first).await.unwrap().duplicates, 1);
    let again = [with_id("a", value("4")), with_id("b", value("5")), value("3")];
    assert_eq!(sink.write(&again).await.unwrap().duplicates, 1);
    assert_eq!(store.column("v").await, some(&["1", "3", "3", "5", "3"]));
}

#[tokio::test]
async fn metadata_constants_defaults_and_seals_fill_columns_too() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v text, s text, c text, e boolean, k text)").await;
    let mut settings = store.settings(&["v"]);
    let of = |name: &str, value| Column { name: name.to_owned(), value };
    settings.columns.extend([
        of("s", Value::Pointer { pointer: pointer("/s"), default: Some("MainServer".to_owned()) }),
        of("c", Value::Constant { text: "it's".to_owned() }),
        of("e", Value::IsSealed { pointer: pointer("/v") }),
        of("k", Value::KeyId { pointer: pointer("/v") }),
    ]);
    let sealed = |key: &str| {
        let mut sealed = value("tg1.x");
        sealed.sealed.push(SealedField { pointer: pointer("/v"), key_id: key.into() });
        sealed
    };
    let mut sink = sink(settings);
    let (clear, first, second) = ("clear|MainServer|it's|f|-", "tg1.x|MainServer|it's|t|k1", "tg1.x|MainServer|it's|t|k2");
    // All alike, which travels once for all rows, and mixed, as while a key is rotated; in turns over one connection.
    let batches = [
        vec![value("clear"), sealed("k1"), sealed("k2")],
        vec![sealed("k1"), sealed("k1")],
        vec![sealed("k2"), sealed("k1")],
        vec![value("clear"), value("clear")],
    ];
    for batch in &batches {
        sink.write(batch).await.unwrap();
    }
    let read = "concat_ws('|', v, s, c, e, coalesce(k, '-'))";
    assert_eq!(store.column(read).await, some(&[clear, first, second, first, first, second, first, clear, clear]));
}

#[tokio::test]
async fn a_role_that_may_only_insert_and_select_serves_with_an_identity_key() {
    let table = "CREATE TABLE t (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text UNIQUE, v text)";
    let store = Store::with(table).await;
    let role = crate::names::unique("role").replace('-', "_");
    store.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'; GRANT INSERT, SELECT ON t TO {role}")).await;
    let mut settings = store.settings(&["v"]);
    let at = store.database.rsplit_once('@').unwrap().1.to_owned();
    settings.uri = format!("postgres://{role}:pw@{at}").as_str().into();
    settings.columns.push(id_column("id"));
    settings.idempotent_by = Some("id".to_owned());
    let written = sink(settings).write(&[with_id("a", value("1")), with_id("a", value("2"))]).await;
    let stored = store.column("v").await;
    store.run(&format!("REVOKE ALL ON t FROM {role}; DROP ROLE {role}")).await;
    assert_eq!((written.unwrap().duplicates, stored), (1, some(&["1"])));
}

#[tokio::test]
async fn a_libpq_address_serves_as_well() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v text)").await;
    let (login, place) = store.database.trim_start_matches("postgres://").split_once('@').unwrap();
    // A server that the environment names may trust its users, and may stand on the usual port.
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, database) = place.split_once('/').unwrap();
    let (host, port) = host.split_once(':').unwrap_or((host, "5432"));
    let database = database.split('?').next().unwrap();
    let mut settings = store.settings(&["v"]);
    settings.uri = format!("host={host} port={port} dbname={database} user={user} password='{password}'").as_str().into();
    sink(settings).write(&[value("x")]).await.unwrap();
    assert_eq!(store.column("v").await, some(&["x"]));
}

#[tokio::test]
async fn a_table_of_another_schema_and_a_partitioned_one_serve() {
    let table = "
        CREATE SCHEMA \"Au.dit\"; CREATE SCHEMA audit;
        CREATE TABLE t (n bigserial, v text) PARTITION BY LIST (v);
        CREATE TABLE t_rest PARTITION OF t DEFAULT;
        CREATE TABLE audit.\"T\" (n bigserial, v text)";
    let store = Store::with(table).await;
    store.sink(&["v"]).write(&[value("x")]).await.unwrap();
    assert_eq!(store.column("v").await, some(&["x"]));
    let mut settings = store.settings(&["v"]);
    settings.table = "audit.T".to_owned();
    settings.columns = vec![column("v")];
    sink(settings).write(&[value("y")]).await.unwrap();
    let stored: String = sqlx::query_scalar("SELECT v FROM audit.\"T\"").fetch_one(&store.pool).await.unwrap();
    assert_eq!(stored, "y");
}
