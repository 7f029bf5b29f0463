//! The law of rooms: `src/lib.rs` lists the modules in the order in which a message meets them, and a module uses only those above it.
//! Beside the order, a few things are known in one room only. Unit tests may use what they like.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a source file that cannot be read fails the test")]

use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, Macro, Meta, UseTree};

/// A crate that few rooms may name, and those rooms.
const ONLY: [(&str, &[&str]); 2] = [("wasmtime", &["plugin"]), ("miette", &["config", "cli"])];

/// Crates that a room must never name.
const NEVER: [(&str, &[&str]); 1] = [("pipeline", &["toml", "sqlx", "lapin", "wasmtime"])];

/// Protocols: each is a stranger to all others.
const KINDS: [[&str; 2]; 6] =
    [["source", "rabbitmq"], ["source", "http"], ["sink", "redis"], ["sink", "postgres"], ["sink", "sqlite"], ["sink", "live"]];

#[test]
fn a_room_uses_only_the_rooms_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms = rooms(&fs::read_to_string(src.join("lib.rs")).unwrap());
    let mut broken = Vec::new();
    for room in &rooms {
        visit_files(&src, room, &mut |module, text| broken.extend(violations(&rooms, module, text)));
    }
    assert!(broken.is_empty(), "the law of rooms is broken:\n{}", broken.join("\n"));
}

/// The rooms, in order.
fn rooms(lib: &str) -> Vec<String> {
    let file: File = syn::parse_str(lib).unwrap();
    let modules = file.items.into_iter().filter_map(|item| match item {
        Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    });
    modules.collect()
}

/// Shows each file of a module, with the module's path.
fn visit_files(src: &Path, module: &str, show: &mut impl FnMut(&[String], &str)) {
    let path: Vec<String> = module.split('/').map(str::to_owned).collect();
    let file = src.join(format!("{module}.rs"));
    if file.is_file() && path.last().is_some_and(|name| name != "tests") {
        show(&path, &fs::read_to_string(file).unwrap());
    }
    let Ok(entries) = fs::read_dir(src.join(module)) else { return };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names.dedup();
    for name in names {
        visit_files(src, &format!("{module}/{name}"), show);
    }
}

/// What a module's text breaks, one line each.
fn violations(rooms: &[String], module: &[String], text: &str) -> Vec<String> {
    let file: File = syn::parse_str(text).unwrap_or_else(|error| panic!("{}: {error}", module.join("::")));
    let mut names = Names { module: module.to_vec(), found: Vec::new() };
    names.visit_file(&file);
    names.found.sort();
    names.found.dedup();
    names.found.iter().filter_map(|name| judge(rooms, module, name)).collect()
}

/// Why a module may not use a name, if it may not.
fn judge(rooms: &[String], module: &[String], name: &[String]) -> Option<String> {
    let (here, used) = (module.join("::"), name.join("::"));
    let room = module.first()?;
    let position = |room: &String| rooms.iter().position(|other| other == room);
    let Some(inner) = name.strip_prefix(["crate".to_owned()].as_slice()) else {
        let foreign = name.first()?.as_str();
        let reserved = ONLY.iter().find(|(krate, allowed)| *krate == foreign && !allowed.contains(&room.as_str()));
        let barred = NEVER.iter().any(|(barred, crates)| barred == room && crates.contains(&foreign));
        return (reserved.is_some() || barred).then(|| format!("{here} must not know the crate {foreign} ({used})"));
    };
    let kind = |path: &[String]| KINDS.iter().find(|kind| path.iter().zip(kind.iter()).filter(|(a, b)| a == *b).count() == 2);
    if let (Some(mine), Some(other)) = (kind(module), kind(inner))
        && mine != other
    {
        return Some(format!("{here} must not know another protocol ({used})"));
    }
    let target = position(inner.first()?)?;
    (target > position(room)?).then(|| format!("{here} stands above {used} and must not use it"))
}

/// Gathers every path of a file: `crate::…` made absolute, and those of other crates.
struct Names {
    module: Vec<String>,
    found: Vec<Vec<String>>,
}

impl Names {
    fn add(&mut self, path: Vec<String>) {
        let mut base: Vec<String> = std::iter::once("crate".to_owned()).chain(self.module.iter().cloned()).collect();
        let mut rest = path.as_slice();
        match rest.first().map(String::as_str) {
            Some("self" | "super") => {}
            _ => return self.found.push(path),
        }
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "self" => {}
                "super" => drop(base.pop()),
                _ => break,
            }
            rest = others;
        }
        base.extend_from_slice(rest);
        self.found.push(base);
    }

    fn add_tree(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |ident: String| [prefix, &[ident]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.add(with(name.ident.to_string())),
            UseTree::Rename(name) => self.add(with(name.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(prefix, tree)),
            _ => self.add(prefix.to_vec()),
        }
    }

    /// Tokens of a macro or an attribute are no paths yet: `a :: b :: c` outside of string literals is one.
    fn add_tokens(&mut self, tokens: &str) {
        let text = without_strings(tokens);
        let words: Vec<&str> =
            text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).filter(|word| !word.is_empty()).collect();
        let joined = words.join(" ").replace(" :: ", "::");
        for word in joined.split(' ').filter(|word| word.contains("::")) {
            self.add(word.split("::").filter(|segment| !segment.is_empty()).map(str::to_owned).collect());
        }
    }
}

fn without_strings(tokens: &str) -> String {
    let (mut kept, mut inside, mut escaped) = (String::new(), false, false);
    for c in tokens.chars() {
        match c {
            '"' if !escaped => inside = !inside,
            _ if inside => {}
            _ => kept.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    kept
}

fn is_test(attributes: &[Attribute]) -> bool {
    let of_test = |attribute: &Attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        meta => meta.path().is_ident("test"),
    };
    attributes.iter().any(of_test)
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_use_tree(&mut self, tree: &'ast UseTree) {
        self.add_tree(&[], tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.add_tokens(&call.tokens.to_string());
        visit::visit_macro(self, call);
    }

    fn visit_meta(&mut self, meta: &'ast Meta) {
        if let Meta::List(list) = meta {
            self.add_tokens(&list.tokens.to_string());
        }
        visit::visit_meta(self, meta);
    }
}

/// What a snippet in a module breaks, under a small house: message, source, sink, plugin, config, pipeline.
fn broken(module: &str, text: &str) -> Vec<String> {
    let rooms: Vec<String> = ["message", "source", "sink", "plugin", "config", "pipeline"].map(str::to_owned).into();
    let module: Vec<String> = module.split("::").map(str::to_owned).collect();
    violations(&rooms, &module, text)
}

#[test]
fn looking_up_is_lawful() {
    let text = "use crate::{message::{self, Message}, source}; use super::Shared; fn f(m: &Message) { source::open(message::id(m)); crate::plugin::call() }";
    assert_eq!(broken("pipeline::lane", text), [""; 0]);
}

#[test]
fn a_use_of_a_room_below_is_found_in_groups_and_renames() {
    for text in [
        "use crate::pipeline::Lane;",
        "use crate::{message::Message, pipeline::{self}};",
        "use crate::pipeline as p;",
        "use crate::pipeline::*;",
    ] {
        let found = broken("source::rabbitmq", text);
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with("source::rabbitmq stands above crate::pipeline")),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn a_room_below_is_found_in_expressions_types_macros_and_attributes() {
    let texts = [
        "fn f() { crate::pipeline::go(); }",
        "struct S { lane: Vec<crate::pipeline::Lane> }",
        "impl crate::pipeline::Carry for S {}",
        "fn f() { info!(\"x {}\", crate::pipeline::name()); }",
        "#[derive(crate::pipeline::Derived)] struct S;",
        "mod inner { fn f() { super::super::pipeline::go() } }",
        "macro_rules! m { () => { $crate::pipeline::go() } }",
    ];
    for text in texts {
        assert_eq!(broken("message", text).len(), 1, "{text}");
    }
}

#[test]
fn super_is_resolved_from_where_it_stands() {
    assert_eq!(broken("sink::redis", "use super::StageError; use super::super::source::Letter;"), [""; 0]);
    assert_eq!(broken("sink::redis", "use super::super::plugin::Kind;").len(), 1);
}

#[test]
fn words_in_strings_and_unit_tests_are_no_use() {
    let text = "fn f() { info!(\"see crate::pipeline::go and \\\"wasmtime::Engine\\\"\"); } #[cfg(test)] mod tests { use crate::pipeline::go; }";
    assert_eq!(broken("message", text), [""; 0]);
}

#[test]
fn a_crate_of_one_room_is_found_in_another() {
    assert_eq!(broken("plugin::cache", "use wasmtime::Engine;"), [""; 0]);
    assert_eq!(
        broken("source", "fn f(engine: &wasmtime::Engine) {}"),
        ["source must not know the crate wasmtime (wasmtime::Engine)"]
    );
    assert_eq!(broken("source", "fn f() { bail!(wasmtime::Error::msg(x)) }").len(), 1);
    assert_eq!(broken("config", "use miette::Report;"), [""; 0]);
    assert_eq!(broken("sink", "use miette::Report;").len(), 1);
    assert_eq!(broken("sink", "use ::miette::Report;").len(), 1);
}

#[test]
fn the_pipeline_knows_no_syntax_and_no_protocol() {
    for name in ["toml", "sqlx", "lapin", "wasmtime"] {
        assert_eq!(broken("pipeline::lane", &format!("use {name}::Anything;")).len(), 1, "{name}");
    }
}

#[test]
fn protocols_are_strangers_to_each_other() {
    assert_eq!(broken("sink::redis", "use crate::sink::columns::Column;"), [""; 0]);
    assert_eq!(broken("sink::redis", "use super::postgres::Settings;").len(), 1);
    assert_eq!(broken("sink::live", "use crate::source::http::Settings;").len(), 1);
    assert_eq!(broken("source::rabbitmq::acker", "use super::Settings; use crate::source::Letter;"), [""; 0]);
}
