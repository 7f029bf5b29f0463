//! A transformer: fills in, renames, removes and redacts fields of JSON bodies.
//!
//! In this order: `rename` (all at once, so two fields can swap places), `defaults`, `remove`, `redact`. A body to which nothing of
//! it applies goes on byte for byte. In one that changes, key order and the texts of numbers and strings stay; only white space beside what changed
//! may go. Of a duplicate key the last value counts, and `rename`, `remove` and `redact` leave none of the others behind.

mod pointer;
mod trail;
mod tree;

use std::collections::BTreeMap;

use pointer::Pointer;
use serde::Deserialize;
use serde_json::Value;
use tidegate_plugin::json::{Problem, Scanner};
use tidegate_plugin::{Message, Outcome, Reason, Settings, Transformer};
use trail::Trail;
use tree::Node;

/// Deepest nesting of a body, the document itself counted as 1.
const MAX_DEPTH: u32 = 128;

/// `settings` of the step. Pointers are JSON pointers (RFC 6901).
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    /// Where a value moves: from pointer to pointer. What stands at the new place is replaced, and objects on the way are made; a
    /// message where that cannot be is rejected with `in_the_way`. Default: none.
    pub rename: BTreeMap<String, String>,
    /// What is set where nothing stands, null counted as something. Objects on the way are made. Default: none.
    pub defaults: BTreeMap<String, Value>,
    /// What is taken out. Default: none.
    pub remove: Vec<String>,
    /// What is replaced by the text `redact_with`, whatever its type. Default: none.
    pub redact: Vec<String>,
    /// The text that stands for what is redacted. Default: [redacted].
    pub redact_with: String,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            rename: BTreeMap::new(),
            defaults: BTreeMap::new(),
            remove: Vec::new(),
            redact: Vec::new(),
            redact_with: "[redacted]".to_owned(),
        }
    }
}

impl Settings for Changes {
    const SCHEMA: &'static str = r##"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$defs": { "pointer": { "type": "string", "pattern": "^(/([^~/]|~[01])*)+$" } },
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "rename": {
      "description": "Where a value moves: from JSON pointer to JSON pointer. What stands at the new place is replaced.",
      "type": "object", "propertyNames": { "$ref": "#/$defs/pointer" }, "additionalProperties": { "$ref": "#/$defs/pointer" }, "default": {}
    },
    "defaults": {
      "description": "What is set where nothing stands: JSON pointer to value. Objects on the way are made.",
      "type": "object", "propertyNames": { "$ref": "#/$defs/pointer" }, "default": {}
    },
    "remove": {
      "description": "What is taken out: JSON pointers.",
      "type": "array", "items": { "$ref": "#/$defs/pointer" }, "default": []
    },
    "redact": {
      "description": "What is replaced by the text of redact_with, whatever its type: JSON pointers.",
      "type": "array", "items": { "$ref": "#/$defs/pointer" }, "default": []
    },
    "redact_with": {
      "description": "The text that stands for what is redacted.",
      "type": "string", "default": "[redacted]"
    }
  }
}"##;
}

/// The step.
#[derive(Clone, Debug)]
pub struct Reshape {
    rename: Vec<(Pointer, Pointer)>,
    defaults: Vec<(Pointer, String)>,
    remove: Vec<Pointer>,
    redact: Vec<Pointer>,
    /// As JSON.
    redact_with: String,
    /// Where all of it leads.
    trail: Option<Trail>,
    /// Where the defaults stand, if there is nothing else to do: a document that has all of them needs no second look.
    filled: Option<Trail>,
}

impl Transformer for Reshape {
    const NAME: &'static str = "reshape";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "Fills in, renames, removes and redacts fields of JSON bodies.";

    type Settings = Changes;

    fn configure(changes: Changes) -> Result<Self, Reason> {
        let rename = changes.rename.iter().map(|(from, to)| Ok((pointer("/rename", from)?, pointer("/rename", to)?)));
        let defaults = changes.defaults.iter().map(|(at, value)| Ok((pointer("/defaults", at)?, value.to_string())));
        let all = |setting: &str, places: &[String]| places.iter().map(|at| pointer(setting, at)).collect::<Result<Vec<_>, _>>();
        let mut reshape = Self {
            rename: rename.collect::<Result<_, Reason>>()?,
            defaults: defaults.collect::<Result<_, Reason>>()?,
            remove: all("/remove", &changes.remove)?,
            redact: all("/redact", &changes.redact)?,
            redact_with: Value::from(changes.redact_with).to_string(),
            trail: None,
            filled: None,
        };
        let renamed = reshape.rename.iter().flat_map(|(from, to)| [from, to]);
        let filled = reshape.defaults.iter().map(|(at, _)| at);
        reshape.trail = Trail::to_parents(renamed.chain(filled.clone()).chain(&reshape.remove).chain(&reshape.redact));
        if reshape.rename.is_empty() && reshape.remove.is_empty() && reshape.redact.is_empty() {
            reshape.filled = Trail::to(filled);
        }
        Ok(reshape)
    }

    fn transform(&self, message: &Message<'_>) -> Outcome {
        match self.reshape(message.body) {
            Ok(Some(body)) => Outcome::Replace(body),
            Ok(None) => Outcome::Keep,
            Err(reason) => Outcome::Reject(reason),
        }
    }
}

impl Reshape {
    /// The new body; none where nothing applies.
    fn reshape(&self, body: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
        if self.is_filled(body)? {
            return Ok(None);
        }
        let mut scanner = Scanner::new(body, MAX_DEPTH)?;
        let mut root = Node::read(&mut scanner, self.trail.as_ref())?;
        scanner.end()?;
        let mut changed = self.rename(&mut root)?;
        for (at, value) in &self.defaults {
            changed |= !root.has(at) && root.put(at, Node::Text(value.as_bytes()));
        }
        for at in &self.remove {
            changed |= !root.take(at).is_empty();
        }
        for at in &self.redact {
            changed |= root.overwrite(at, &self.redact_with);
        }
        Ok(changed.then(|| root.to_json(body.len())))
    }

    /// Whether it is plain at once that nothing applies.
    fn is_filled(&self, body: &[u8]) -> Result<bool, Problem> {
        let Some(filled) = &self.filled else { return Ok(false) };
        let mut scanner = Scanner::new(body, MAX_DEPTH)?;
        let all_stand = filled.all_stand(&mut scanner)?;
        scanner.end()?;
        Ok(all_stand)
    }

    /// Takes all that moves before anything is put. Gives whether anything changed.
    fn rename<'a>(&'a self, root: &mut Node<'a>) -> Result<bool, Reason> {
        let mut changed = false;
        let mut moved = Vec::new();
        for (from, to) in &self.rename {
            let counts = root.has(from);
            let mut taken = root.take(from);
            changed |= !taken.is_empty();
            moved.extend(taken.pop().filter(|_| counts).map(|node| (to, node)));
        }
        for (to, node) in moved {
            if !root.put(to, node) {
                return Err(Reason::new("in_the_way", "a value is to move here, and something that is no object is in the way")
                    .at(to.to_string()));
            }
        }
        Ok(changed)
    }
}

fn pointer(setting: &str, text: &str) -> Result<Pointer, Reason> {
    Pointer::parse(text).ok_or_else(|| {
        let message = format!("{text:?} is no JSON pointer to a field; expected e.g. \"/message/content\"");
        Reason::new("settings", message).at(setting)
    })
}

tidegate_plugin::transformer!(Reshape);

#[cfg(test)]
mod tests;
