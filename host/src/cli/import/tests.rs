//! What comes out loads, does what the original did, and holds no secret.

use super::*;
use crate::config::{Environment, Loaded, Options, SinkKind, SourcePlan, Text, load_text};
use crate::keys::KeyRingPlan;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const IV: &str = "AAECAwQFBgcICQoLDA0ODw==";

/// The original's file for containers, with secrets of its own.
fn whole() -> String {
    format!(
        r#"{{
  "client_title": "MainServerConsumer", "log_root_path": "/opt/app/logs/", "write_console_log": 3, "write_file_log": 0,
  "high_priority_count": 3, "normal_priority_count": 3, "low_priority_count": 5, "write_interval": 1000,
  "main_server_ip": "mainserver", "main_server_port": 9876,
  "use_redis": true, "use_redis_tls": false, "redis_host": "redis", "redis_port": 6379, "redis_ttl_sec": 600,
  "redis_db_global_message_index": 2, "global_message_key": "send_global_message",
  "rabbit_mq_host": "rabbitmq", "rabbit_mq_port": 5672, "rabbit_mq_user_name": "chat user", "rabbit_mq_password": "hunter-rabbit",
  "consume_queue_name": "message_broadcast_queue", "use_ssl": false, "ca_cert": "",
  "use_database": true,
  "database_connection_string": "host=postgres port=5432 dbname=rtmc user=rtmc_user password=hunter-postgres",
  "database_encryption_enabled": true, "database_encryption_key": "{KEY}", "database_encryption_iv": "{IV}"
}}"#
    )
}

fn load(imported: &Imported) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    for plugin in ["validate-message", "aes-256-gcm"] {
        std::fs::write(folder.path().join(plugin).with_extension("wasm"), "").unwrap();
    }
    let environment = Environment::of(&[
        ("RABBIT_MQ_PASSWORD", "pw"),
        ("REDIS_PASSWORD", "pw"),
        ("DATABASE_PASSWORD", "pw"),
        ("DATABASE_URL", "postgres://h/d"),
        ("DATABASE_ENCRYPTION_KEY", KEY),
        ("DATABASE_ENCRYPTION_IV", IV),
    ]);
    let text = Text::new(folder.path().join("pipeline.toml"), imported.toml.clone());
    load_text(text, &Options { environment, ..Options::default() })
        .unwrap_or_else(|problems| panic!("{problems}\n{}", imported.toml))
}

fn imported(json: &str) -> Imported {
    import(json, ".").unwrap()
}

#[test]
fn the_whole_file_becomes_the_equal_pipeline() {
    let imported = imported(&whole());
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("imported", format!("{}\n---\n{}", imported.toml, imported.warnings.join("\n")));
    });
    let loaded = load(&imported);
    assert_eq!(loaded.warnings, []);
    let SourcePlan::RabbitMq(source) = &loaded.plan.source else { panic!("the source is rabbitmq") };
    assert_eq!(source.uri.expose_str(), "amqp://chat%20user:pw@rabbitmq:5672/%2f");
    let SinkKind::Redis(redis) = &loaded.plan.sinks[0].kind else { panic!("the first sink is redis") };
    assert_eq!(redis.uri.expose_str(), "redis://redis:6379/2");
    let SinkKind::Postgres(postgres) = &loaded.plan.sinks[1].kind else { panic!("the second sink is postgres") };
    assert_eq!(postgres.uri.expose_str(), "host=postgres port=5432 dbname=rtmc user=rtmc_user password='pw'");
    assert_eq!(postgres.require_sealed, ["message_content"]);
}

#[test]
fn no_secret_is_copied_or_told() {
    let imported = imported(&whole());
    for secret in ["hunter", KEY, IV] {
        assert!(!imported.toml.contains(secret) && !imported.warnings.concat().contains(secret), "{secret}");
    }
}

#[test]
fn the_documents_five_keys_are_enough() {
    let json = r#"{ "use_database": true, "database_encryption_enabled": false, "database_encryption_key": "", "database_encryption_iv": "",
        "database_connection_string": "host=postgres port=5432 dbname=rtmc user=rtmc_user password=rtmc_password" }"#;
    let plan = load(&imported(json)).plan;
    assert_eq!((plan.sinks.len(), plan.steps.len()), (2, 1));
}

#[test]
fn encryption_without_a_usable_key_gets_a_fresh_one_instead_of_none() {
    // The document's own sample key has 26 bytes.
    let json = whole().replace(KEY, "aGVsbG8gd29ybGQgdGhpcyBpcyBhIHRlc3Q=");
    for json in [json, whole().replace(IV, "")] {
        let imported = imported(&json);
        assert!(imported.warnings.iter().any(|warning| warning.contains("stored in clear all")), "{:?}", imported.warnings);
        let plan = load(&imported).plan;
        assert!(matches!(plan.key_rings["messages"], KeyRingPlan::File { create: true, .. }));
    }
}

#[test]
fn a_hostile_value_stays_a_value() {
    let json = r#"{ "consume_queue_name": "q\"\n[admin]\nlisten = \"0.0.0.0:1\" ${HOME}", "use_redis": true }"#;
    let plan = load(&imported(json)).plan;
    let SourcePlan::RabbitMq(source) = plan.source else { panic!("the source is rabbitmq") };
    assert_eq!(source.queue, "q\"\n[admin]\nlisten = \"0.0.0.0:1\" ${HOME}");
    assert!(plan.admin.listen.ip().is_loopback());
}

#[test]
fn what_is_unknown_or_of_another_type_is_told() {
    let imported = imported(r#"{ "use_redis": true, "redis_port": "6379", "color": 1 }"#);
    let told = imported.warnings.join("\n");
    assert!(told.contains("`redis_port` is not a whole number") && told.contains("`color` is no key of the original"), "{told}");
    load(&imported);
}

#[test]
fn what_is_no_configuration_of_the_original_is_refused() {
    assert_eq!(import("{\n  \"a\": }", "."), Err(ImportError::NotJson { line: 2, column: 8 }));
    assert_eq!(import("[]", "."), Err(ImportError::NotAnObject));
    assert_eq!(import(r#"{ "use_redis": false, "use_database": false }"#, "."), Err(ImportError::NoSink));
}
