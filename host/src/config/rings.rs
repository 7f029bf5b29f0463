//! `[key_rings.NAME]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT as BASE64;

use super::field::Field;
use super::problem::{Code, Problem};
use super::reader::Reader;
use crate::keys::{InlineKey, KeyRingPlan};
use crate::secret::Secret;

/// Reads the rings.
pub(super) fn read(file: &Reader<'_>) -> BTreeMap<Arc<str>, KeyRingPlan> {
    let rings = file.named("key_rings", "NAME", |name, field| {
        field.check_name(name);
        let ring = field.table(&format!("write `[key_rings.{name}]`"), ring).flatten()?;
        Some((Arc::clone(name), ring))
    });
    rings.into_iter().collect()
}

fn ring(ring: &Reader<'_>) -> Option<KeyRingPlan> {
    let path = ring.key("file", "none");
    let create = ring.boolean("create", false);
    let active = ring.key("active", "none").and_then(|field| field.short_text(32));
    let keys = ring.named("keys", "ID", inline_key);
    if let Some(field) = path {
        for key in ["active", "keys"] {
            ring.refuse(key, &format!("`{key}` is for keys in this file; with `file` the keys stand in that file"));
        }
        return Some(KeyRingPlan::File { path: ring_file(&field, create)?, create });
    }
    ring.refuse("create", "`create` is only for `file`");
    if !ring.has("active") && !ring.has("keys") {
        if !ring.has_others() {
            let problem = Problem::new(Code::MissingKey, format!("the key ring `{}` has no keys", ring.path())).path(ring.path());
            let help = "add `file = \"data/keys.toml\"`, or `active = \"k1\"` and `keys.k1.key = \"${VAR}\"`";
            ring.note(ring.placed(problem.help(help)));
        }
        return None;
    }
    inline(ring, active, keys)
}

fn ring_file(field: &Field<'_>, create: bool) -> Option<PathBuf> {
    let path = field.file()?;
    if field.context.looks_outside && !create && !path.is_file() {
        let message = format!("there is no key file `{}`", field.shown_file(&path));
        let help = "`tidegate keys generate` prints a fresh one; `create = true` makes one where it is missing";
        field.note(Code::UnreadableFile, message, help);
    }
    field.context.note_content(&field.path, path.clone());
    Some(path)
}

fn inline(ring: &Reader<'_>, active: Option<String>, keys: Vec<InlineKey>) -> Option<KeyRingPlan> {
    if !ring.has("active") {
        let problem = Problem::new(Code::MissingKey, format!("`{}` needs `active`", ring.path())).path(ring.path().key("active"));
        ring.note(ring.placed(problem.help("name the key that seals; the others only open")));
    }
    if !ring.has_entries("keys") {
        let problem = Problem::new(Code::MissingKey, format!("`{}` needs `keys`", ring.path())).path(ring.path().key("keys"));
        ring.note(ring.placed(problem.help(format!("add `[{}.keys.ID]` and `key = \"${{VAR}}\"`", ring.path()))));
    }
    Some(KeyRingPlan::Inline { active: active?, keys })
}

fn inline_key(id: &Arc<str>, field: &Field<'_>) -> Option<InlineKey> {
    let well = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) && (1..=32).contains(&id.len());
    if !well {
        let problem =
            Problem::new(Code::BadName, format!("`{}` is no id of a key", id.escape_debug())).at(field.key).path(&field.path);
        field.context.note(problem.help("1 to 32 characters of a-z, A-Z, 0-9, `-` and `_`"));
    }
    field.table(&format!("write `[{}]`", field.path), |key| {
        let secret = key.required("key", "e.g. `key = \"${MESSAGES_KEY}\"`: base64, from the environment or `${file:…}`");
        let secret = secret.and_then(|field| self::secret_key(&field)).unwrap_or_else(|| "".into());
        let iv = key.key("iv", "none").and_then(|field| base64(&field, 16..=16, "an initialization vector has 16 bytes"));
        InlineKey { id: id.to_string(), key: secret, iv }
    })
}

fn secret_key(field: &Field<'_>) -> Option<Secret> {
    if !field.is_all_from_outside() {
        let message = format!("a key in clear: `{}` must not stand in this file", field.path);
        let help = "whoever reads the file could open every row: write `\"${VAR}\"` or `\"${file:path}\"`, without a default, and take this \
                    key for known";
        field.note(Code::KeyInClear, message, help);
        return None;
    }
    base64(field, 1..=128, "`tidegate keys generate` prints a key that fits")
}

fn base64(field: &Field<'_>, bytes: std::ops::RangeInclusive<usize>, help: &str) -> Option<Secret> {
    let text = field.filled("base64 in quotes", "write it in quotes")?.value;
    let well = BASE64.decode(text.trim()).is_ok_and(|decoded| bytes.contains(&decoded.len()));
    if !well {
        let what = if text.trim().is_empty() { "is empty" } else { "is no base64 of the right length" };
        field.note(Code::BadBase64, format!("`{}` {what}", field.path), help);
    }
    well.then(|| Secret::new(text.trim().as_bytes().to_vec()))
}
