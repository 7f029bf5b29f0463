//! `[steps.NAME]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::field::Field;
use super::json;
use super::plan::{OnError, SealFormat, SealPlan, StepPlan, StepSpans};
use super::problem::{Code, nearest};
use super::reader::Reader;
use crate::plugin::{Grants, Limits};

/// Bounds of an instance's memory: one page of WebAssembly, and what 32 bits address.
const MEMORY: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 30;

/// Reads the steps.
pub(super) fn read(file: &Reader<'_>) -> BTreeMap<Arc<str>, StepPlan> {
    let steps = file.named("steps", "NAME", |name, field| {
        field.check_name(name);
        let help = format!("write `[steps.{name}]` and `plugin = \"….wasm\"`");
        let step = field.table(&help, |table| step(name, field, table))?;
        Some((Arc::clone(name), step))
    });
    steps.into_iter().collect()
}

fn step(name: &Arc<str>, field: &Field<'_>, table: &Reader<'_>) -> StepPlan {
    let mut spans = StepSpans { step: field.node.span.into(), plugin: field.node.span.into(), settings: BTreeMap::new() };
    let plugin = table.required("plugin", "the component's file, e.g. `plugin = \"target/plugins/validate-message.wasm\"`");
    if let Some(field) = &plugin {
        spans.plugin = field.node.span.into();
    }
    let settings = table.key("settings", "{}").and_then(|field| json::object(&field, &mut spans.settings));
    StepPlan {
        name: Arc::clone(name),
        plugin: plugin.and_then(|field| component(&field)).unwrap_or_default(),
        sha256: table.key("sha256", "any").and_then(|field| digest(&field)),
        settings: settings.unwrap_or_else(|| serde_json::json!({})),
        on_error: on_error(table),
        limits: table.section("limits", limits),
        grants: grants(table),
        seal: seal(table),
        spans,
    }
}

fn component(field: &Field<'_>) -> Option<PathBuf> {
    let path = field.file()?;
    if let Some(scheme) = ["oci://", "builtin:", "http://", "https://"].iter().find(|scheme| field.raw_starts_with(scheme)) {
        let help = "fetch the component and name its file";
        field.note(Code::BadValue, format!("plugins are loaded from files; `{scheme}…` is not one"), help);
        return None;
    }
    if field.context.looks_outside && !path.is_file() {
        note_missing(field, &path);
    }
    field.context.note_content(&field.path, path.clone());
    Some(path)
}

fn note_missing(field: &Field<'_>, path: &Path) {
    let shown = field.shown_file(path);
    let message =
        if path.is_dir() { format!("the plugin `{shown}` is a folder") } else { format!("there is no plugin `{shown}`") };
    let help = "the path is relative to the folder of this file; `cargo xtask plugins` builds the first-party plugins into \
                `target/plugins`";
    let near = neighbour(path);
    let near = near.map(|name| field.raw_sibling(&name));
    field.context.note(field.problem(Code::MissingPlugin, message).suggest(near).help(help));
}

/// A component in the same folder whose name is nearly the same.
fn neighbour(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let files = std::fs::read_dir(path.parent()?).ok()?;
    let names: Vec<String> = files.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect();
    let components = names.iter().map(String::as_str).filter(|name| name.ends_with(".wasm"));
    nearest(wanted, components).map(str::to_owned)
}

fn digest(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let digest = text.strip_prefix("sha256:").unwrap_or(&text).to_ascii_lowercase();
    let well = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !well {
        let message = format!("`{}` must have 64 hexadecimal digits, has {} characters", field.path, digest.chars().count());
        field.note(Code::BadDigest, message, "`sha256sum FILE` prints it");
    }
    well.then_some(digest)
}

fn on_error(table: &Reader<'_>) -> OnError {
    let words = [("reject", OnError::Reject), ("pass", OnError::Pass), ("halt", OnError::Halt)];
    table.word("on_error", "reject", &words, OnError::Reject)
}

fn limits(limits: &Reader<'_>) -> Limits {
    let default = Limits::default();
    let elements = limits.count("table_elements", u64::from(default.table_elements), 1..=100_000);
    let memory_bytes = limits.size("memory", default.memory_bytes, MEMORY);
    Limits {
        memory_bytes,
        table_elements: u32::try_from(elements).unwrap_or(u32::MAX),
        timeout: limits.duration("timeout", default.timeout, Duration::from_millis(1)..=Duration::from_secs(60)),
        max_calls: limits.count("max_calls", default.max_calls, 1..=1_000_000_000_000),
        // An instance that has grown to its limit can only fail: it is replaced then at the latest.
        recycle_bytes: limits.size("recycle", default.recycle_bytes, MEMORY).min(memory_bytes),
    }
}

fn grants(table: &Reader<'_>) -> Grants {
    let mut grants = Grants { expose_key: table.boolean("expose_key", false), ..Grants::default() };
    if let Some(field) = table.key("grant", "none") {
        let list = field.list("a list of imports", "write `[\"clock\"]`").unwrap_or_default();
        for import in list.iter().filter_map(|field| field.word(&[("clock", true), ("random", false)])) {
            if import { grants.clock = true } else { grants.random = true }
        }
    }
    grants
}

fn seal(table: &Reader<'_>) -> Option<SealPlan> {
    let field = table.key("field", "none");
    let key_ring = table.key("key_ring", "none");
    let format = table.word("format", "tg1", &[("tg1", SealFormat::Tg1), ("original", SealFormat::Original)], SealFormat::Tg1);
    if field.is_none() && key_ring.is_none() {
        table.refuse("format", "`format` is for a step that seals: it needs `field` and `key_ring` beside it");
        return None;
    }
    for (name, there) in [("field", field.is_some()), ("key_ring", key_ring.is_some())] {
        if !there {
            table.note_missing(name, "a step that seals needs `field` (a JSON pointer) and `key_ring` (its name)");
        }
    }
    let (place, key_ring) = (field.and_then(|field| sealed_field(&field)), key_ring.and_then(|field| field.text()));
    Some(SealPlan { field: place?, key_ring: key_ring?.into(), format })
}

fn sealed_field(field: &Field<'_>) -> Option<crate::message::Pointer> {
    let pointer = field.pointer()?;
    if pointer.tokens().is_empty() {
        field.note(
            Code::BadPointer,
            format!("`{}` is the body as a whole", field.path),
            "name a field of it, e.g. \"/message/content\"",
        );
        return None;
    }
    Some(pointer)
}
