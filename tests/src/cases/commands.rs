//! The commands beside `run`, as a person or a script uses them: what they print, and how they exit.

use std::fs;
use std::process::Output;

use sqlx::Row as _;
use tempfile::TempDir;
use tidegate_harness::host::run;

use crate::host::{Rig, command, program};
use crate::servers::fresh_database;

/// Key 00..1f and initialization vector 00..0f seal `Hello, world!` so, in the original.
const ORIGINAL: &str = "xoChr2dXj+XBBH5XcJ6DUw==";

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The ring of the original's known answer, in the folder of a pipeline.
fn original_ring(rig: &Rig) {
    let ring = "active = \"old\"\n[keys.old]\nkey = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"\niv = \"AAECAwQFBgcICQoLDA0ODw==\"\n";
    let file = rig.folder.path().join("keys.toml");
    fs::write(&file, ring).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn check_says_what_is_well_and_each_exit_code_means_one_thing() {
    let rig = Rig::shipped().await;
    rig.pipeline.write(rig.folder.path()).unwrap();
    let folder = rig.folder.path();
    let well = command(folder, &["check"], b"");
    assert_eq!(code(&well), 0, "{}", text(&well.stderr));
    assert!(text(&well.stdout).contains("imports tidegate:plugin/crypto"), "{}", text(&well.stdout));

    let missing = command(folder, &["check", "none.toml"], b"");
    assert_eq!(code(&missing), 78);
    assert!(text(&missing.stderr).contains("none.toml"), "{}", text(&missing.stderr));
    assert_eq!(code(&command(folder, &["check", "--no-such-flag"], b"")), 2);
    assert_eq!(code(&command(folder, &["health"], b"")), 1, "nothing runs there");

    let file = folder.join("pipeline.toml");
    let broken = fs::read_to_string(&file).unwrap().replace("through = [\"validate\"]", "through = [\"validat\"]");
    fs::write(&file, broken).unwrap();
    let broken = command(folder, &["check", "--json"], b"");
    assert_eq!(code(&broken), 78);
    let problems: serde_json::Value = serde_json::from_slice(&broken.stdout).unwrap();
    let unknown = problems.as_array().unwrap().iter().find(|problem| problem["code"] == "unknown_step").unwrap();
    assert_eq!((unknown["suggestion"].as_str(), unknown["span"]["line"].is_u64()), (Some("validate"), true), "{problems:#}");
    assert_eq!(code(&command(folder, &["run"], b"")), 78, "what does not check does not run");
}

#[tokio::test]
async fn what_a_plugin_refuses_is_pointed_at_in_the_file() {
    let mut rig = Rig::shipped().await;
    rig.pipeline.steps = rig.pipeline.steps.replacen(
        "validate-message.wasm\"\n",
        "validate-message.wasm\"\nsettings = { content_max_byte = 5 }\n",
        1,
    );
    rig.pipeline.write(rig.folder.path()).unwrap();
    let refused = command(rig.folder.path(), &["check", "--json"], b"");
    assert_eq!(code(&refused), 78);
    let problems: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    let setting = problems.as_array().unwrap().iter().find(|problem| problem["code"] == "bad_setting").unwrap();
    assert_eq!(setting["path"], "steps.validate.settings.content_max_byte", "{problems:#}");
    assert!(setting["span"]["line"].is_u64(), "{problems:#}");
}

#[tokio::test]
async fn values_of_the_original_open_line_by_line_and_what_does_not_open_keeps_its_place() {
    let rig = Rig::shipped().await;
    original_ring(&rig);
    rig.pipeline.write(rig.folder.path()).unwrap();
    // As psql prints the column: the value's own line feed leaves an empty line behind it.
    let input = format!("{ORIGINAL}\n\ntg1.nonsense\n{ORIGINAL}\n");
    let opened = command(rig.folder.path(), &["open"], input.as_bytes());
    assert_eq!(text(&opened.stdout), "Hello, world!\n\nHello, world!\n");
    assert_eq!(code(&opened), 1);
    assert!(text(&opened.stderr).contains("value 2"), "{}", text(&opened.stderr));
}

#[tokio::test]
async fn a_value_that_was_moved_to_another_row_does_not_open_where_ids_are_given() {
    let mut rig = Rig::shipped().await;
    let body = |id: &str| {
        format!(r#"{{"id":"u","sub_id":"s","publisher_information":{{"message_id":"{id}"}},"message":{{"content":"of {id}"}}}}"#)
    };
    rig.queue.publish([body("one"), body("two")]).await;
    rig.start();
    rig.settled(2);
    let rows = rig.rows().await;
    let [one, two] = [&rows[0].message_content, &rows[1].message_content];
    let input = format!("one\t{one}\none\t{two}\n\t{two}\ntwo\t{two}\n");
    let opened = command(rig.folder.path(), &["open", "--with-ids", "--json"], input.as_bytes());
    assert_eq!(text(&opened.stdout), "\"of one\"\nnull\nnull\n\"of two\"\n", "{}", text(&opened.stderr));
    assert_eq!(code(&opened), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_pipeline_can_write_the_originals_form_and_open_it_again() {
    let mut rig = Rig::shipped().await;
    original_ring(&rig);
    let bare = "aes-256-cbc.wasm\"\nsettings = { authenticate = false }\nformat = \"original\"\n";
    rig.pipeline.steps = rig.pipeline.steps.replace("aes-256-gcm.wasm\"\n", bare);
    let long = "x".repeat(1000);
    for content in ["Hello, world!", &long] {
        rig.queue.publish(&[format!(r#"{{"id":"u","sub_id":"s","message":{{"content":"{content}"}}}}"#)]).await;
    }
    rig.start();
    rig.settled(2);
    let rows = rig.rows().await;
    assert_eq!(rows[0].message_content, format!("{ORIGINAL}\n"));
    let stored: Vec<&str> = rows.iter().map(|row| row.message_content.as_str()).collect();
    assert_eq!(rig.open(&stored), [Some("Hello, world!".to_owned()), Some(long)]);
    rig.stop().await;
}

#[tokio::test]
async fn a_fresh_key_is_printed_for_both_worlds() {
    let folder = TempDir::new().unwrap();
    let generated = command(folder.path(), &["keys", "generate"], b"");
    assert_eq!(code(&generated), 0);
    let generated = text(&generated.stdout);
    for expected in [
        "active = \"k",
        "\"database_encryption_enabled\": true",
        "\"database_encryption_key\": \"",
        "\"database_encryption_iv\": \"",
    ] {
        assert!(generated.contains(expected), "no {expected}");
    }
    assert_ne!(text(&command(folder.path(), &["keys", "generate"], b"").stdout), generated);
}

#[tokio::test]
async fn the_originals_configuration_is_translated_and_its_secrets_are_not() {
    let folder = TempDir::new().unwrap();
    let original =
        r#"{"use_database": true, "database_connection_string": "host=db port=5432 dbname=rtmc user=u password=hunter2"}"#;
    fs::write(folder.path().join("main_server_consumer_configurations.json"), original).unwrap();
    let imported = command(folder.path(), &["import"], b"");
    assert_eq!(code(&imported), 0, "{}", text(&imported.stderr));
    let (toml, notes) = (text(&imported.stdout), text(&imported.stderr));
    assert!(toml.contains("[sinks.history.postgres]") && notes.contains("note: "), "{toml}\n{notes}");
    assert!(!toml.contains("hunter2") && !notes.contains("hunter2"), "the password is shown");
}

#[tokio::test]
async fn migrate_makes_the_documents_schema_once_and_cleaning_up_refuses_nonsense() {
    let database = fresh_database().await;
    let folder = TempDir::new().unwrap();
    let migrate = || run(&program(), folder.path(), &["migrate", "--database", &database], &[], b"").unwrap();
    let first = migrate();
    assert_eq!(code(&first), 0, "{}", text(&first.stderr));
    assert!(text(&first.stdout).contains("applied"));
    let second = migrate();
    assert!(text(&second.stdout).contains("(0 applied now"), "{}", text(&second.stdout));

    let pool = database.pool().await;
    let insert = "INSERT INTO messages (id, sub_id, server_name, message_content, is_encrypted, created_at) VALUES \
                  ('u', 's', 'MainServer', 'old', false, now() - interval '40 days'), ('u', 's', 'MainServer', 'new', false, now())";
    sqlx::query(insert).execute(&pool).await.unwrap();
    for nonsense in ["0", "-1", "NULL"] {
        let refused = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT cleanup_old_messages({nonsense})"))).execute(&pool).await;
        assert!(refused.is_err(), "cleanup_old_messages({nonsense})");
    }
    let deleted = sqlx::query("SELECT cleanup_old_messages(30)::bigint").fetch_one(&pool).await.unwrap();
    assert_eq!(deleted.get::<i64, _>(0), 1);
    let preview = sqlx::query("SELECT content_preview FROM recent_messages").fetch_one(&pool).await.unwrap();
    assert_eq!(preview.get::<String, _>(0), "new");
    let statistics = sqlx::query("SELECT message_date FROM message_statistics").fetch_all(&pool).await.unwrap();
    assert_eq!(statistics.len(), 1);
    pool.close().await;
}
