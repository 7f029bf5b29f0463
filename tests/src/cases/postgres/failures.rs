//! What passes: outages, failovers, migrations under a live connection.

use tidegate::sink::Sink;
use tidegate::telemetry::{Health, Telemetry};
use tidegate_harness::postgres::{Durability, Postgres};

use super::{BOUND, PostgresSink, Store, TIMEOUT, failure, settings, sink, some, value};
use crate::servers::fresh_database_on;

const TABLE: &str = "CREATE TABLE t (n bigserial PRIMARY KEY, v text)";

/// Raises this code at the first row, and never again: a sequence is not rolled back.
fn fails_once(code: &str) -> String {
    format!(
        "{TABLE}; CREATE SEQUENCE times;
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('times') = 1 THEN RAISE EXCEPTION 'once' USING ERRCODE = '{code}'; END IF; RETURN NEW;
         END $$;
         CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"
    )
}

#[tokio::test]
async fn a_stopped_server_fails_at_once_and_is_served_again_when_it_is_back() {
    let mut server = Postgres::start(Durability::NoFsync).unwrap();
    let database = fresh_database_on(&server.url()).await;
    sqlx::raw_sql(TABLE).execute(&database.pool().await).await.unwrap();
    let telemetry = Telemetry::default();
    let mut sink = PostgresSink::new(settings(&database, &["v"]), "sinks.history", telemetry.clone());
    sink.write(&[value("a")]).await.unwrap();
    server.service.kill().unwrap();
    for _ in 0..2 {
        let error = failure(&mut sink, &[value("b")]).await;
        assert!(!error.needs_operator, "{error}");
        assert_eq!(telemetry.stages()["sinks.history"], Health::Down(error.message));
    }
    server.service.start().unwrap();
    sink.write(&[value("b")]).await.unwrap();
    assert_eq!(telemetry.stages()["sinks.history"], Health::Up);

    // Nobody answers, neither on the connection that stands nor on a new one, which the kernel takes all the same.
    server.service.pause().unwrap();
    for _ in 0..2 {
        let error = failure(&mut sink, &[value("c")]).await;
        assert_eq!((&*error.code, error.needs_operator), ("timeout", false));
    }
    server.service.resume().unwrap();
    sink.write(&[value("d")]).await.unwrap();
    let sql = "SELECT string_agg(v, '' ORDER BY n) FROM t WHERE v <> 'c'";
    let stored: String = sqlx::query_scalar(sql).fetch_one(&database.pool().await).await.unwrap();
    assert_eq!(stored, "abd");
}

#[tokio::test]
async fn a_session_that_is_ended_costs_one_write() {
    let store = Store::with(TABLE).await;
    let mut sink = store.sink(&["v"]);
    sink.write(&[value("a")]).await.unwrap();
    store.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidegate' AND datname = current_database()").await;
    assert!(!failure(&mut sink, &[value("b")]).await.needs_operator);
    sink.write(&[value("b")]).await.unwrap();
    assert_eq!(store.column("v").await, some(&["a", "b"]));
}

#[tokio::test]
async fn a_read_only_server_is_left_for_another_connection() {
    let store = Store::with(TABLE).await;
    let read_only = |state: &str| {
        format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {state}', current_database()); END $$"
        )
    };
    store.run(&read_only("on")).await;
    let mut sink = store.sink(&["v"]);
    let error = failure(&mut sink, &[value("a")]).await;
    assert_eq!((&*error.code, error.needs_operator), ("sqlstate_25006", false));
    // The state of a session is that of its beginning: only a new one can write.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SET default_transaction_read_only = off; {}", read_only("off"))))
        .execute(&store.pool)
        .await
        .unwrap();
    sink.write(&[value("a")]).await.unwrap();
    assert_eq!(store.column("v").await, some(&["a"]));
}

#[tokio::test]
async fn a_migration_under_a_live_connection_is_followed() {
    let store = Store::with("CREATE TABLE t (n bigserial PRIMARY KEY, v varchar(9))").await;
    let mut sink = store.sink(&["v"]);
    sink.write(&[value("1")]).await.unwrap();
    for change in [
        "ALTER TABLE t ALTER v TYPE text",
        "ALTER TABLE t ADD w text DEFAULT 'x', ADD u integer",
        "ALTER TABLE t ALTER v TYPE integer USING v::integer",
        "ALTER TABLE t ALTER v TYPE jsonb USING to_jsonb(v)",
        "ALTER TABLE t DROP u",
    ] {
        store.run(change).await;
        let written = sink.write(&[value("1")]).await.unwrap();
        assert!(written.refused.is_empty(), "{change}: {written:?}");
    }
    assert_eq!(store.column("v").await, some(&["1"; 6]));
    store.run("ALTER TABLE t RENAME v TO x").await;
    assert!(failure(&mut sink, &[value("1")]).await.needs_operator);
    assert_eq!(failure(&mut sink, &[value("1")]).await.code, "undefined_column");
    store.run("ALTER TABLE t RENAME x TO v").await;
    sink.write(&[value("1")]).await.unwrap();
    assert_eq!(store.column("v").await.len(), 7);
}

#[tokio::test]
async fn a_stale_statement_is_tried_once_more_and_a_pooler_is_suited() {
    for code in ["0A000", "26000", "42P05"] {
        let store = Store::with(&fails_once(code)).await;
        let mut sink = store.sink(&["v"]);
        for text in ["a", "b", "c"] {
            sink.write(&[value(text)]).await.unwrap();
        }
        assert_eq!(store.column("v").await, some(&["a", "b", "c"]), "{code}");
    }
}

/// Raises this code so often, and notes in a sequence, which nothing rolls back, the process of the server that did. A stored row has the
/// process that stored it.
fn fails_and_notes_where(code: &str, times: u32) -> String {
    format!(
        "CREATE TABLE t (n bigserial PRIMARY KEY, v text, process integer DEFAULT pg_backend_pid());
         CREATE SEQUENCE times; CREATE SEQUENCE failed;
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('times') <= {times} THEN
                 PERFORM setval('failed', pg_backend_pid()); RAISE EXCEPTION 'stale' USING ERRCODE = '{code}';
             END IF; RETURN NEW;
         END $$;
         CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"
    )
}

#[tokio::test]
async fn what_went_stale_is_tried_once_more_on_another_connection_which_then_stays() {
    for code in ["0A000", "26000", "42P05"] {
        let store = Store::with(&fails_and_notes_where(code, 1)).await;
        let mut sink = store.sink(&["v"]);
        for text in ["a", "b"] {
            sink.write(&[value(text)]).await.unwrap();
        }
        assert_eq!(store.column("v").await, some(&["a", "b"]), "{code}");
        let failed: i64 = sqlx::query_scalar("SELECT last_value FROM failed").fetch_one(&store.pool).await.unwrap();
        let processes = store.column("process").await;
        assert!(!processes.contains(&Some(failed.to_string())), "{code}: {processes:?}");
        assert_eq!(processes[0], processes[1], "{code}");
    }
}

#[tokio::test]
async fn what_goes_stale_twice_in_a_row_is_a_failure_of_the_stage_and_is_written_by_the_next_attempt() {
    for code in ["0A000", "26000", "42P05"] {
        let store = Store::with(&fails_and_notes_where(code, 2)).await;
        let mut sink = store.sink(&["v"]);
        let error = failure(&mut sink, &[value("a")]).await;
        assert_eq!((error.code, error.needs_operator), (format!("sqlstate_{code}"), true));
        let tries: i64 = sqlx::query_scalar("SELECT last_value FROM times").fetch_one(&store.pool).await.unwrap();
        assert_eq!(tries, 2, "{code}: tried once more, and no more often");
        sink.write(&[value("a")]).await.unwrap();
        assert_eq!(store.column("v").await, some(&["a"]), "{code}");
    }
}

#[tokio::test]
async fn behind_a_pooler_bad_rows_are_found_as_well() {
    let store = Store::with(&fails_once("26000")).await;
    store.run("ALTER TABLE t ALTER v TYPE varchar(5)").await;
    let batch = [value("a"), value("longer"), value("b")];
    let written = store.sink(&["v"]).write(&batch).await.unwrap();
    assert_eq!(written.refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
    assert_eq!(store.column("v").await, some(&["a", "b"]));
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again_by_the_lane() {
    for code in ["40001", "40P01", "53200", "57014", "08006"] {
        let store = Store::with(&fails_once(code)).await;
        let mut sink = store.sink(&["v"]);
        let error = failure(&mut sink, &[value("a")]).await;
        assert_eq!((error.code, error.needs_operator), (format!("sqlstate_{code}"), false));
        sink.write(&[value("a")]).await.unwrap();
        assert_eq!(store.column("v").await, some(&["a"]));
    }
}

#[tokio::test]
async fn what_waits_for_a_lock_is_given_up_by_the_server_too() {
    let store = Store::with(TABLE).await;
    let mut sink = store.sink(&["v"]);
    sink.write(&[value("a")]).await.unwrap();
    let mut holder = store.pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE t").execute(&mut *holder).await.unwrap();
    let error = failure(&mut sink, &[value("b")]).await;
    assert_eq!((&*error.code, error.needs_operator), ("sqlstate_57014", false));
    holder.commit().await.unwrap();
    sink.write(&[value("c")]).await.unwrap();
    assert_eq!(store.column("v").await, some(&["a", "c"]));
}

#[tokio::test]
async fn a_cancelled_write_leaves_a_sink_that_works() {
    let store = Store::with(TABLE).await;
    let mut patient = store.settings(&["v"]);
    patient.timeout = BOUND;
    let mut sink = sink(patient);
    sink.write(&[value("a")]).await.unwrap();
    let mut holder = store.pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE t").execute(&mut *holder).await.unwrap();
    assert!(tokio::time::timeout(TIMEOUT / 4, sink.write(&[value("b")])).await.is_err());
    holder.rollback().await.unwrap();
    sink.write(&[value("c")]).await.unwrap();
    let stored = store.column("v").await;
    assert!(stored.contains(&Some("a".to_owned())) && stored.contains(&Some("c".to_owned())), "{stored:?}");
}
