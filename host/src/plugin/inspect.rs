//! What a component is and wants, read from its types before any of its code runs.

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentInstance, ComponentItem};

use super::load_error::LoadError;
use super::{Kind, v0_1};

/// The package of the interface.
const PACKAGE: &str = "tidegate:plugin/";

/// What a component is and wants.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    /// The interfaces that it imports, without versions, sorted; those that only lend types are left out.
    pub(super) imports: Vec<String>,
}

/// Looks at the bytes: a component, or why not.
pub(super) fn check_format(bytes: &[u8]) -> Result<(), LoadError> {
    const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
    const CORE: [u8; 4] = [1, 0, 0, 0];
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    match bytes.strip_prefix(b"\0asm").map(|rest| rest.first_chunk()) {
        Some(Some(&COMPONENT)) => Ok(()),
        Some(Some(&CORE)) => Err(LoadError::CoreModule),
        Some(_) => Err(LoadError::NotWasm { hint: "it starts as WebAssembly does, and breaks off or has an unknown version" }),
        None => Err(LoadError::NotWasm { hint: guess(bytes) }),
    }
}

fn guess(bytes: &[u8]) -> &'static str {
    let text = bytes.trim_ascii_start();
    if text.starts_with(b"(") || text.starts_with(b";;") {
        return "it looks like the text format; `wasm-tools parse` makes a binary of it";
    }
    match Engine::detect_precompiled(bytes) {
        Some(_) => "it is compiled code, which only the host itself may make; give the component",
        None => "a component starts with the bytes 00 61 73 6d 0d 00 01 00",
    }
}

/// Reads kind, line and imports, and checks that each import is offered and each export is there.
pub(super) fn shape(engine: &Engine, component: &Component) -> Result<Shape, LoadError> {
    let ty = component.component_type();
    let exports: Vec<(&str, ComponentItem)> = ty.exports(engine).map(|(name, export)| (name, export.ty)).collect();
    let names: Vec<&str> = exports.iter().map(|(name, _)| *name).collect();
    let kind = kind(&names)?;
    check_exports(engine, kind, &exports)?;
    let imports: Vec<_> = ty.imports(engine).map(|(name, import)| (name, import.ty)).collect();
    Ok(Shape { kind, imports: check_imports(engine, kind, &imports)? })
}

/// An interface of the package: name and version.
fn interface(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_prefix(PACKAGE)?;
    Some(name.split_once('@').unwrap_or((name, "")))
}

/// `0.1` of `0.1.7`; the whole version where nothing else is compatible with it.
fn line(version: &str) -> String {
    let mut parts = version.split('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("0"), Some(minor), Some(patch)) if patch.bytes().all(|byte| byte.is_ascii_digit()) => format!("0.{minor}"),
        _ if version.is_empty() => "without a version".to_owned(),
        _ => version.to_owned(),
    }
}

fn kind(exports: &[&str]) -> Result<Kind, LoadError> {
    let mut kinds: Vec<(Kind, &str)> = Vec::new();
    for (name, version) in exports.iter().filter_map(|name| interface(name)) {
        match name {
            "validation" => kinds.push((Kind::Validator, version)),
            "transformation" => kinds.push((Kind::Transformer, version)),
            "sealing" => kinds.push((Kind::Cipher, version)),
            _ => {}
        }
    }
    match kinds.as_slice() {
        [] => Err(LoadError::NoKind { exports: exports.iter().map(|name| super::reason::printable(name, 128)).collect() }),
        [(kind, version)] if line(version) == v0_1::LINE => Ok(*kind),
        [(_, version)] => Err(LoadError::Line { needed: line(version) }),
        several => Err(LoadError::SeveralKinds(several.iter().map(|(kind, _)| kind.to_string()).collect())),
    }
}

fn check_exports(engine: &Engine, kind: Kind, exports: &[(&str, ComponentItem)]) -> Result<(), LoadError> {
    let mut missing = Vec::new();
    for (wanted, functions) in v0_1::required(kind) {
        let instance = exports.iter().find_map(|(name, item)| match (interface(name), item) {
            (Some((name, version)), ComponentItem::ComponentInstance(instance)) => {
                (name == wanted && line(version) == v0_1::LINE).then_some(instance)
            }
            _ => None,
        });
        let has = |function: &str| instance.is_some_and(|instance| instance.get_export(engine, function).is_some());
        missing.extend(functions.iter().filter(|function| !has(function)).map(|function| format!("{wanted}.{function}")));
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(LoadError::MissingExports { kind, missing }),
    }
}

/// The names of the imports; or all that are not offered, at once.
fn check_imports(engine: &Engine, kind: Kind, imports: &[(&str, ComponentItem)]) -> Result<Vec<String>, LoadError> {
    let (mut names, mut unknown) = (Vec::new(), Vec::new());
    for (name, item) in imports {
        let ComponentItem::ComponentInstance(instance) = item else {
            unknown.push(super::reason::printable(name, 128));
            continue;
        };
        if lends_types_alone(engine, instance) {
            continue;
        }
        match offered(kind, name) {
            Some((interface, functions)) => {
                names.push(format!("{PACKAGE}{interface}"));
                unknown.extend(
                    functions_beyond(engine, instance, functions).map(|function| format!("{PACKAGE}{interface}.{function}")),
                );
            }
            None => unknown.push(super::reason::printable(name, 128)),
        }
    }
    if !unknown.is_empty() {
        let offered = v0_1::offered(kind).iter().map(|(interface, _)| format!("{PACKAGE}{interface}@{}", v0_1::LINE)).collect();
        return Err(LoadError::UnknownImports { kind, needed: unknown, offered });
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn offered(kind: Kind, name: &str) -> Option<(&'static str, &'static [&'static str])> {
    let (name, version) = interface(name)?;
    let (interface, functions) = v0_1::offered(kind).iter().find(|(interface, _)| *interface == name)?;
    (line(version) == v0_1::LINE).then_some((*interface, *functions))
}

/// Components import an interface for its record types too: nothing is called through those.
fn lends_types_alone(engine: &Engine, instance: &ComponentInstance) -> bool {
    instance.exports(engine).all(|(_, export)| matches!(export.ty, ComponentItem::Type(_)))
}

fn functions_beyond<'a>(
    engine: &'a Engine,
    instance: &'a ComponentInstance,
    known: &'a [&str],
) -> impl Iterator<Item = String> + 'a {
    instance
        .exports(engine)
        .filter(|(_, export)| matches!(export.ty, ComponentItem::ComponentFunc(_)))
        .filter(|(name, _)| !known.contains(name))
        .map(|(name, _)| super::reason::printable(name, 128))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_versions_must_share() {
        assert_eq!(line("0.1.0"), "0.1");
        assert_eq!(line("0.1.12"), "0.1");
        assert_eq!(line("0.2.0"), "0.2");
        assert_eq!(line("1.4.0"), "1.4.0");
        assert_eq!(line("0.1.0-rc.1"), "0.1.0-rc.1");
    }

    #[test]
    fn bytes_that_are_no_component_say_what_they_seem_to_be() {
        let hint = |bytes: &[u8]| match check_format(bytes) {
            Err(LoadError::NotWasm { hint }) => hint,
            other => panic!("{other:?}"),
        };
        assert!(hint(b"\n(component)").contains("wasm-tools parse"));
        assert!(hint(b"hello").contains("00 61 73 6d"));
        assert!(hint(b"\0asm\x0d\0").contains("breaks off"));
        assert!(matches!(check_format(b"\0asm\x01\0\0\0"), Err(LoadError::CoreModule)));
        assert!(matches!(check_format(b""), Err(LoadError::Empty)));
    }
}
