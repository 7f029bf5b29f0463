//! What the original's file says, read as the original reads it: a value of another type counts as missing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT as BASE64;
use serde_json::{Map, Value};

use super::ImportError;

/// Keys that have a place in pipeline.toml, and the type that the original wants.
const TAKEN: [(&str, Kind); 23] = [
    ("use_redis", Kind::Boolean),
    ("use_redis_tls", Kind::Boolean),
    ("redis_host", Kind::Text),
    ("redis_port", Kind::Number),
    ("redis_user_name", Kind::Text),
    ("redis_password", Kind::Text),
    ("redis_ttl_sec", Kind::Number),
    ("redis_db_global_message_index", Kind::Number),
    ("global_message_key", Kind::Text),
    ("rabbit_mq_host", Kind::Text),
    ("rabbit_mq_port", Kind::Number),
    ("rabbit_mq_user_name", Kind::Text),
    ("rabbit_mq_password", Kind::Text),
    ("consume_queue_name", Kind::Text),
    ("use_ssl", Kind::Boolean),
    ("ca_cert", Kind::Text),
    ("client_cert", Kind::Text),
    ("client_key", Kind::Text),
    ("use_database", Kind::Boolean),
    ("database_connection_string", Kind::Text),
    ("database_encryption_enabled", Kind::Boolean),
    ("database_encryption_key", Kind::Text),
    ("database_encryption_iv", Kind::Text),
];

/// Keys of the original that nothing here needs, and why.
const NOT_NEEDED: [(&str, &[&str]); 4] = [
    (
        "logs go to standard error, by the level in TIDEGATE_LOG",
        &["log_root_path", "write_file_log", "write_console_log", "callback_message_log", "write_interval", "console_windows"],
    ),
    ("batches run on every core", &["high_priority_count", "normal_priority_count", "low_priority_count"]),
    (
        "it belongs to the MainServer",
        &["main_server_ip", "main_server_port", "buffer_size", "encrypt_mode", "redis_db_user_status_index"],
    ),
    (
        "it changes nothing",
        &[
            "client_title",
            "server_title",
            "server_sub_title",
            "main_registered_key",
            "engine",
            "win_ca_cert",
            "linux_ca_cert",
            "empty",
        ],
    ),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Number,
    Text,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Boolean => value.is_boolean(),
            Self::Number => value.is_u64(),
            Self::Text => value.is_string(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Number => "a whole number",
            Self::Text => "a string",
        }
    }
}

/// The original's file.
pub(super) struct Original(Map<String, Value>);

impl Original {
    pub(super) fn read(json_text: &str) -> Result<Self, ImportError> {
        let text = json_text.trim_start_matches('\u{feff}');
        let value = serde_json::from_str(text)
            .map_err(|failure: serde_json::Error| ImportError::NotJson { line: failure.line(), column: failure.column() })?;
        match value {
            Value::Object(keys) => Ok(Self(keys)),
            _ => Err(ImportError::NotAnObject),
        }
    }

    /// A text that is not empty: to the original, empty is as good as missing.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key).and_then(Value::as_u64)
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        self.0.get(key).and_then(Value::as_bool)
    }

    /// Whether messages are broadcast. A file with the keys of the document alone says nothing of Redis, and broadcasts.
    pub(super) fn broadcasts(&self) -> bool {
        self.boolean("use_redis").unwrap_or(true)
    }

    pub(super) fn stores(&self) -> bool {
        self.boolean("use_database").unwrap_or(false)
    }

    pub(super) fn seals(&self) -> bool {
        self.stores() && self.boolean("database_encryption_enabled").unwrap_or(false)
    }

    /// Whether key and initialization vector are what AES-256-CBC takes.
    pub(super) fn has_usable_key(&self) -> bool {
        let has = |key: &str, bytes: usize| {
            let decoded = self.text(key).and_then(|text| BASE64.decode(text.trim()).ok());
            decoded.is_some_and(|decoded| decoded.len() == bytes)
        };
        has("database_encryption_key", 32) && has("database_encryption_iv", 16)
    }

    /// What is said of keys as such: left out, of another type, unknown.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (why, keys) in NOT_NEEDED {
            let found: Vec<String> = keys.iter().filter(|key| self.0.contains_key(**key)).map(|key| format!("`{key}`")).collect();
            if !found.is_empty() {
                warnings.push(format!("Not needed: {} ({why}).", found.join(", ")));
            }
        }
        for (key, value) in &self.0 {
            let taken = TAKEN.iter().find(|(name, _)| name == key).map(|(_, kind)| *kind);
            match taken {
                Some(kind) if !kind.fits(value) => {
                    warnings.push(format!("`{key}` is not {}: it counts as missing, as it does for the original.", kind.name()));
                }
                None if !NOT_NEEDED.iter().any(|(_, keys)| keys.contains(&key.as_str())) => {
                    warnings.push(format!("`{}` is no key of the original: it is left out.", key.escape_debug()));
                }
                _ => (),
            }
        }
        warnings
    }
}
