//! The original's `main_server_consumer_configurations.json` as a pipeline.toml.
//!
//! No secret is copied: each becomes a `${VAR}`, and a warning tells which variable to set.

mod address;
mod original;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use original::Original;

/// A pipeline.toml that does what the original did, and what to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The text of the file.
    pub toml: String,
    /// What changes, what is left out, and which variables to set; each a sentence. None holds a secret.
    pub warnings: Vec<String>,
}

/// Why a file cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The text is no JSON.
    #[error("the file is no JSON: something is wrong at line {line}, column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The text is JSON of another shape.
    #[error("the file is no JSON object, and so no configuration of the original")]
    NotAnObject,
    /// There is nothing to carry to.
    #[error("`use_redis` and `use_database` are both false: there is nothing to carry messages to")]
    NoSink,
}

/// Translates the original's configuration. `plugins` is the folder of the first-party plugins, e.g. `target/plugins`.
///
/// # Errors
/// Fails when the text is no configuration of the original, or one that neither broadcasts nor stores.
pub fn import(json_text: &str, plugins: &str) -> Result<Imported, ImportError> {
    let original = Original::read(json_text)?;
    let mut import = Import { warnings: original.warnings(), original, toml: String::new(), plugins };
    if !import.original.broadcasts() && !import.original.stores() {
        return Err(ImportError::NoSink);
    }
    import.head();
    import.source();
    import.steps();
    import.broadcast();
    import.history();
    import
        .warnings
        .push("What stays as it was: queue, table and Redis key. Run `tidegate check` on the new file next.".to_owned());
    Ok(Imported { toml: import.toml, warnings: import.warnings })
}

struct Import<'a> {
    original: Original,
    plugins: &'a str,
    toml: String,
    warnings: Vec<String>,
}

impl Import<'_> {
    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        writeln!(self.toml, "{line}").unwrap_or_default();
    }

    fn pair(&mut self, key: &str, value: &str) {
        self.line(&format!("{key} = {}", quoted(value)));
    }

    fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    fn head(&mut self) {
        self.line("# Imported from main_server_consumer_configurations.json. The shipped pipeline.toml explains every key.\n");
        self.line("[pipeline]");
        self.pair("name", "broadcast");
        self.line("through = [\"validate\"]");
        self.pair("message_id", "/publisher_information/message_id");
        self.warn(
            "A malformed message is no longer requeued for ever: it goes to `<queue>.dead` with its reason. So does one whose \
             `publisher_information` is no object, or whose `server_name` is no string, which the original lets through; \
             `settings = { strict_publisher = false }` of the step `validate` allows the former again.",
        );
    }

    fn source(&mut self) {
        let uri = address::amqp(&self.original, &mut self.warnings);
        let queue = self.original.text("consume_queue_name").unwrap_or("message_broadcast_queue").to_owned();
        self.line("\n[source.rabbitmq]");
        self.pair("uri", &uri);
        self.pair("queue", &escaped(&queue));
        if let Some(file) = self.original.text("ca_cert").map(escaped) {
            self.pair("ca_file", &file);
        }
        for key in ["client_cert", "client_key"] {
            if self.original.text(key).is_some() {
                self.warn(format!("`{key}` is left out: Tidegate proves who it is to the broker by user and password."));
            }
        }
    }

    fn steps(&mut self) {
        self.line("\n[steps.validate]");
        self.plugin("validate-message");
        if self.original.seals() {
            self.line("\n[steps.seal]");
            self.plugin("aes-256-gcm");
            self.pair("field", "/message/content");
            self.pair("key_ring", "messages");
            self.ring();
        } else if self.original.stores() {
            self.warn("Contents are stored in clear, as before (`database_encryption_enabled` is false).");
            if self.original.text("database_encryption_key").is_some() {
                self.warn(
                    "`database_encryption_key` is left out: rows that were sealed earlier need a key ring with it to be opened.",
                );
            }
        }
    }

    fn plugin(&mut self, name: &str) {
        let path = format!("{}/{name}.wasm", self.plugins);
        self.pair("plugin", &escaped(&path));
    }

    fn ring(&mut self) {
        self.line("\n[key_rings.messages]");
        self.warn(
            "Sealed contents are authenticated now (AES-256-GCM, form `tg1…`), and bound to their message and field. A message that \
             cannot be sealed is dead-lettered; the original stored it in clear.",
        );
        if !self.original.has_usable_key() {
            self.pair("file", "data/keys.toml");
            self.line("create = true");
            self.warn(
                "`database_encryption_key` and `database_encryption_iv` are not base64 of 32 and 16 bytes: the original stored in clear all \
                 the while, though encryption was on. The ring `messages` gets a fresh key in data/keys.toml at the first start: keep a \
                 copy of it elsewhere.",
            );
            return;
        }
        self.pair("active", "original");
        self.line("[key_rings.messages.keys.original]");
        self.pair("key", "${DATABASE_ENCRYPTION_KEY}");
        self.pair("iv", "${DATABASE_ENCRYPTION_IV}");
        self.warn("Set DATABASE_ENCRYPTION_KEY and DATABASE_ENCRYPTION_IV to the values of those two keys: neither is copied into the file.");
        self.warn("Rows that the original sealed still open, by the ring's `iv`. A key of its own for new rows is better: `tidegate keys generate`.");
    }

    fn broadcast(&mut self) {
        if !self.original.broadcasts() {
            return self.warn("Nothing is broadcast, as before (`use_redis` is false).");
        }
        let uri = address::redis(&self.original, &mut self.warnings);
        self.line("\n[sinks.broadcast]\non_failure = \"park\"\n\n[sinks.broadcast.redis]");
        self.pair("uri", &uri);
        self.pair("mode", "list");
        let key = escaped(self.original.text("global_message_key").unwrap_or("send_global_message"));
        self.pair("key", &key);
        self.warn(
            "Messages are handed over by RPUSH to a list, as later versions of the original do. For a MainServer that reads one slot with \
             GET, as the document has it, write `mode = \"set\"`.",
        );
        if let Some(seconds) = self.original.number("redis_ttl_sec") {
            self.warn(format!(
                "`redis_ttl_sec` is left out: a list has no time to live. With `mode = \"set\"` write `ttl = \"{seconds}s\"`."
            ));
        }
    }

    fn history(&mut self) {
        if !self.original.stores() {
            return self.warn("Nothing is stored, as before (`use_database` is false).");
        }
        let uri = address::postgres(&self.original, &mut self.warnings);
        self.line("\n[sinks.history]\non_failure = \"park\"");
        if self.original.seals() {
            self.line("through = [\"seal\"]");
        }
        self.line("\n[sinks.history.postgres]");
        self.pair("uri", &uri);
        self.pair("idempotent_by", "source_message_id");
        if self.original.seals() {
            self.line("require_sealed = [\"message_content\"]");
        }
        self.line(COLUMNS);
        self.warn("Run `tidegate migrate` once: the table gets `source_message_id` and `encryption_key_id` beside the original's columns.");
        self.warn("While a server is down its messages wait on `<queue>.parked.<sink>` and are delivered later, in order; the original lost them.");
    }
}

const COLUMNS: &str = r#"
[sinks.history.postgres.columns]
id = "/id"
sub_id = "/sub_id"
publisher_info = { pointer = "/publisher_information", default = "{}" }
server_name = { pointer = "/message/server_name", default = "MainServer" }
message_content = "/message/content"
is_encrypted = { sealed = "/message/content" }
encryption_key_id = { key_id = "/message/content" }
source_message_id = { metadata = "message-id" }"#;

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A text that is taken as it stands: `${` in it is no interpolation.
fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}
