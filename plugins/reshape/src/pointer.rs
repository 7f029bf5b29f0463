//! JSON pointers (RFC 6901) to a field: never the document as a whole.

use std::fmt;

/// The keys from the outermost to the field's own, never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) parents: Vec<String>,
    pub(crate) key: String,
}

impl Pointer {
    /// None where the text is no pointer, or one to the document as a whole.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parents: Vec<String> = text.strip_prefix('/')?.split('/').map(unescape).collect::<Option<_>>()?;
        let key = parents.pop()?;
        Some(Self { parents, key })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys = self.parents.iter().chain([&self.key]);
        keys.try_for_each(|key| write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")))
    }
}

fn unescape(segment: &str) -> Option<String> {
    let escapes_end_well = segment.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    escapes_end_well.then(|| segment.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::Pointer;

    fn keys(text: &str) -> Option<Vec<String>> {
        let Pointer { mut parents, key } = Pointer::parse(text)?;
        parents.push(key);
        Some(parents)
    }

    #[test]
    fn a_pointer_is_its_keys_unescaped() {
        assert_eq!(keys("/a/b~1c/~01/").unwrap(), ["a", "b/c", "~1", ""]);
        assert_eq!(keys("/").unwrap(), [""]);
        assert_eq!(Pointer::parse("/a/b~1c/~01/").unwrap().to_string(), "/a/b~1c/~01/");
    }

    #[test]
    fn what_is_no_pointer_to_a_field_is_none() {
        for text in ["", "a", "a/b", "/a~", "/~2", "#/a"] {
            assert_eq!(keys(text), None, "{text}");
        }
    }
}
