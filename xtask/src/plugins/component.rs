//! Just enough of the component binary format to see what a component imports.

/// Where every import of a plugin comes from.
const PACKAGE: &str = "tidegate:plugin/";

/// A component's preamble: magic, version 13, layer 1.
const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

/// The section that lists imports.
const IMPORT_SECTION: u8 = 10;

/// Makes sure that these bytes are a component that imports nothing but the plugin interface.
///
/// # Errors
/// What is wrong, for a person.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut sections = Reader(bytes.strip_prefix(PREAMBLE).ok_or("is no component: it was not linked by wasm-component-ld")?);
    while !sections.0.is_empty() {
        let (id, content) = sections.section().ok_or("is damaged")?;
        if id == IMPORT_SECTION {
            let names = Reader(content).imports().ok_or("has an import section of a form that is not known here")?;
            if let Some(foreign) = names.iter().find(|name| !name.starts_with(PACKAGE)) {
                return Err(format!("imports {foreign}, which no host of Tidegate offers"));
            }
        }
    }
    Ok(())
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn section(&mut self) -> Option<(u8, &'a [u8])> {
        let id = self.byte()?;
        let length = self.number()?;
        Some((id, self.take(length)?))
    }

    /// The names of an import section whose imports are all instances, as those of WIT interfaces are.
    fn imports(&mut self) -> Option<Vec<&'a str>> {
        const INSTANCE: u8 = 5;
        (0..self.number()?)
            .map(|_| {
                self.byte()?;
                let length = self.number()?;
                let name = std::str::from_utf8(self.take(length)?).ok()?;
                let kind = self.byte()?;
                self.number()?;
                (kind == INSTANCE).then_some(name)
            })
            .collect()
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// An unsigned LEB128 number.
    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::{PREAMBLE, check};

    /// A component with one import of this name.
    fn importing(name: &str) -> Vec<u8> {
        let length = u8::try_from(name.len()).unwrap();
        let section = [&[1, 0, length][..], name.as_bytes(), &[5, 0]].concat();
        [PREAMBLE, &[0, 1, b'x', 10, u8::try_from(section.len()).unwrap()], &section].concat()
    }

    #[test]
    fn a_component_may_import_the_plugin_interface_and_nothing_else() {
        assert_eq!(check(PREAMBLE), Ok(()));
        assert_eq!(check(&importing("tidegate:plugin/log@0.1.0")), Ok(()));
        assert!(check(&importing("wasi:cli/environment@0.2.0")).unwrap_err().contains("imports wasi:cli/environment@0.2.0"));
    }

    #[test]
    fn a_core_module_and_damaged_bytes_are_no_component() {
        assert!(check(b"\0asm\x01\0\0\0").is_err());
        let mut cut = importing("tidegate:plugin/log@0.1.0");
        cut.pop();
        assert!(check(&cut).is_err());
    }
}
