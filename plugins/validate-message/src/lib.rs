//! A validator: lets only well-formed broadcast messages pass.
//!
//! `id` and `sub_id` are strings of at most 255 characters, `message` is an object, `message.content` a string,
//! `message.server_name` (at most 100 characters) and `message.command` are strings where they are there, `publisher_information` is an object
//! where it is there. The document is strict JSON that nests at most 32 deep; a duplicate key's last value counts.

mod document;

use document::Document;
use serde::Deserialize;
use tidegate_plugin::json::Text;
use tidegate_plugin::{Message, Reason, Settings, Validator};

const ID: Column = Column { pointer: "/id", max_chars: 255 };
const SUB_ID: Column = Column { pointer: "/sub_id", max_chars: 255 };
const SERVER_NAME: Column = Column { pointer: "/message/server_name", max_chars: 100 };

/// `settings` of the step.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Longest `message.content`, in bytes of UTF-8 after its escapes are resolved. Default: 65536.
    pub content_max_bytes: u32,
    /// Refuse a `publisher_information` that is there and no object. Default: true.
    pub strict_publisher: bool,
    /// Let U+0000 in `message.content` pass. A plain TEXT column cannot hold it; a sealed one can. Default: true.
    pub allow_nul: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { content_max_bytes: 65_536, strict_publisher: true, allow_nul: true }
    }
}

impl Settings for Rules {
    const SCHEMA: &'static str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "content_max_bytes": {
      "description": "Longest message.content, in bytes of UTF-8 after its escapes are resolved.",
      "type": "integer", "minimum": 1, "maximum": 4294967295, "default": 65536
    },
    "strict_publisher": {
      "description": "Refuse a publisher_information that is there and no object.",
      "type": "boolean", "default": true
    },
    "allow_nul": {
      "description": "Let U+0000 in message.content pass. A plain TEXT column cannot hold it; a sealed one can.",
      "type": "boolean", "default": true
    }
  }
}"#;
}

/// The step.
#[derive(Clone, Debug)]
pub struct ValidateMessage {
    rules: Rules,
}

impl Validator for ValidateMessage {
    const NAME: &'static str = "validate-message";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "Lets only well-formed broadcast messages pass.";

    type Settings = Rules;

    fn configure(rules: Rules) -> Result<Self, Reason> {
        if rules.content_max_bytes == 0 {
            let message = "content_max_bytes is 0, and only empty content would pass; expected at least 1";
            return Err(Reason::new("settings", message).at("/content_max_bytes"));
        }
        Ok(Self { rules })
    }

    fn validate(&self, message: &Message<'_>) -> Result<(), Reason> {
        let mut document = Document::default();
        document.read(message.body)?;
        ID.holds(document.id.required(ID.pointer)?)?;
        SUB_ID.holds(document.sub_id.required(SUB_ID.pointer)?)?;
        let envelope = document.message.object("/message")?;
        self.content(envelope.content.required("/message/content")?)?;
        if let Some(server_name) = envelope.server_name.optional(SERVER_NAME.pointer)? {
            SERVER_NAME.holds(server_name)?;
        }
        envelope.command.optional("/message/command")?;
        if self.rules.strict_publisher { document.publisher() } else { Ok(()) }
    }
}

impl ValidateMessage {
    fn content(&self, content: &Text<'_>) -> Result<(), Reason> {
        const POINTER: &str = "/message/content";
        let (bytes, limit) = (content.bytes(), self.rules.content_max_bytes);
        if bytes > limit as usize {
            return Err(Reason::new("too_large", format!("{bytes} bytes, at most {limit} are allowed")).at(POINTER));
        }
        if content.has_nul() && !self.rules.allow_nul {
            return Err(Reason::new("nul", "holds U+0000, which the settings do not allow").at(POINTER));
        }
        Ok(())
    }
}

/// A text column that holds a field as it is.
struct Column {
    /// Where the field stands.
    pointer: &'static str,
    /// Longest field, in characters.
    max_chars: usize,
}

impl Column {
    /// So long at most, and without the one character that no column holds.
    fn holds(&self, text: &Text<'_>) -> Result<(), Reason> {
        // A character has at least one byte: only what is long in bytes needs to be counted.
        if text.bytes() > self.max_chars && text.chars() > self.max_chars {
            return Err(too_long(text, self.max_chars).at(self.pointer));
        }
        if text.has_nul() {
            return Err(Reason::new("nul", "holds U+0000, which no text column stores").at(self.pointer));
        }
        Ok(())
    }
}

#[cold]
fn too_long(text: &Text<'_>, max_chars: usize) -> Reason {
    Reason::new("too_long", format!("{} characters, at most {max_chars} are allowed", text.chars()))
}

tidegate_plugin::validator!(ValidateMessage);

#[cfg(test)]
mod tests;
