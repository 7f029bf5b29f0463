//! What somebody must mend: the table, the settings, the role.

use tidegate::sink::Sink;

use super::{Store, failure, id_column, message, sink, some, value};

/// The error of a first write with `/v` into `v`.
async fn complaint(table: &str) -> (String, String) {
    let store = Store::with(table).await;
    let error = failure(&mut store.sink(&["v"]), &[value("secret")]).await;
    assert!(error.needs_operator, "{error}");
    (error.code, error.message)
}

#[tokio::test]
async fn a_missing_table_is_named_with_what_to_do() {
    let (code, message) = complaint("").await;
    assert_eq!(code, "undefined_table");
    assert!(message.contains("\"t\" does not exist") && message.contains("tidegate migrate"), "{message}");
}

#[tokio::test]
async fn a_missing_column_is_named_with_those_that_are_there() {
    let (code, message) = complaint("CREATE TABLE t (n bigserial, w text)").await;
    assert_eq!(code, "undefined_column");
    assert!(message.contains("no column \"v\"; it has \"n\", \"w\""), "{message}");
}

#[tokio::test]
async fn a_column_that_the_database_writes_itself_is_named() {
    for table in [
        "CREATE TABLE t (v bigint GENERATED ALWAYS AS IDENTITY)",
        "CREATE TABLE t (n integer, v integer GENERATED ALWAYS AS (n * 2) STORED)",
    ] {
        assert_eq!(complaint(table).await.0, "generated_column", "{table}");
    }
}

#[tokio::test]
async fn a_column_that_every_row_would_lack_is_named_before_any_row_is_lost() {
    let (code, message) = complaint("CREATE TABLE t (v text, w text NOT NULL)").await;
    assert_eq!(code, "unfilled_column");
    assert!(message.contains("column \"w\""), "{message}");
}

#[tokio::test]
async fn a_column_that_a_trigger_fills_need_not_be_filled() {
    let table = "
        CREATE TABLE t (n bigserial PRIMARY KEY, v text, w text NOT NULL);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.w := 'x'; RETURN NEW; END $$;
        CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()";
    let store = Store::with(table).await;
    store.sink(&["v"]).write(&[value("a")]).await.unwrap();
    assert_eq!(store.column("w").await, some(&["x"]));
}

#[tokio::test]
async fn an_index_that_cannot_tell_a_redelivery_does_not_serve() {
    let indexes = [
        "",
        "CREATE INDEX i ON t (id)",
        "CREATE UNIQUE INDEX i ON t (id) WHERE v IS NOT NULL",
        "CREATE UNIQUE INDEX i ON t (id, v)",
        "CREATE UNIQUE INDEX i ON t (lower(id))",
        "CREATE UNIQUE INDEX i ON t (id) NULLS NOT DISTINCT",
        // Beside one that serves it spoils what that one could do.
        "CREATE UNIQUE INDEX j ON t (id); ALTER TABLE t ADD CONSTRAINT i UNIQUE (id) DEFERRABLE",
    ];
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, id text, v text)").await;
    let mut settings = store.settings(&["v"]);
    settings.columns.push(id_column("id"));
    settings.idempotent_by = Some("id".to_owned());
    let mut sink = sink(settings);
    for index in indexes {
        store.run(index).await;
        let error = failure(&mut sink, &[value("secret")]).await;
        assert_eq!((&*error.code, error.needs_operator), ("no_unique_index", true), "{index}");
        assert!(error.message.contains("CREATE UNIQUE INDEX ON public.t (\"id\")"), "{error}");
        store.run("ALTER TABLE t DROP CONSTRAINT IF EXISTS i; DROP INDEX IF EXISTS i, j").await;
    }
    store.run("CREATE UNIQUE INDEX ON t (id) INCLUDE (v)").await;
    sink.write(&[value("x")]).await.unwrap();
}

#[tokio::test]
async fn settings_that_cannot_work_say_so() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v text)").await;
    let mut no_id = store.settings(&["v"]);
    no_id.idempotent_by = Some("n".to_owned());
    let mut unguarded = store.settings(&["v"]);
    unguarded.require_sealed = vec!["w".to_owned()];
    let empty = store.settings(&[]);
    let mut dotted = store.settings(&["v"]);
    dotted.table = "a.b.c".to_owned();
    let mut address = store.settings(&["v"]);
    address.uri = "postgres://tidegate:secret@localhost/x?sslmode=verify_full".into();
    for settings in [no_id, unguarded, empty, dotted, address] {
        let error = failure(&mut sink(settings), &[value("secret")]).await;
        assert_eq!((&*error.code, error.needs_operator), ("settings", true), "{error}");
    }
}

#[tokio::test]
async fn a_table_name_cannot_do_anything_but_name_a_table() {
    let name = "t\"; DROP TABLE t; --";
    let quoted = name.replace('"', "\"\"");
    let store = Store::with(&format!("CREATE TABLE t (n bigserial, v text); CREATE TABLE \"{quoted}\" (\"v\"\"\" text)")).await;
    let mut settings = store.settings(&["v\""]);
    settings.table = name.to_owned();
    sink(settings).write(&[message(r#"{"v\"":"x"}"#)]).await.unwrap();
    let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM \"{quoted}\"")))
        .fetch_one(&store.pool)
        .await
        .unwrap();
    assert_eq!(rows, 1);
    assert!(store.column("v").await.is_empty());
}

#[tokio::test]
async fn a_role_without_rights_and_a_wrong_login_are_the_operators() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v text)").await;
    let role = crate::names::unique("role").replace('-', "_");
    store.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'")).await;
    let place = store.database.rsplit_once('@').unwrap().1.to_owned();
    let server = place.split_once('/').unwrap().0.to_owned();
    let mut codes = Vec::new();
    for login in
        [format!("{role}:pw@{place}"), format!("{role}_unknown:secret@{place}"), format!("{role}:pw@{server}/tidegate_no_such")]
    {
        let mut settings = store.settings(&["v"]);
        settings.uri = format!("postgres://{login}").as_str().into();
        let error = failure(&mut sink(settings), &[value("secret")]).await;
        assert!(error.needs_operator, "{error}");
        codes.push(error.code);
    }
    store.run(&format!("DROP ROLE {role}")).await;
    // A server that trusts its users says 28000 of one that it does not know, any other 28P01.
    assert!(codes[1].starts_with("sqlstate_28"), "{codes:?}");
    assert_eq!([&codes[0], &codes[2]], ["sqlstate_42501", "sqlstate_3D000"]);
}
