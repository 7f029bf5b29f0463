//! A JSON pointer (RFC 6901).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Where a value lies in a JSON document. The empty pointer is the document itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pointer {
    /// Shared: each sealed message names the field that was sealed.
    tokens: Arc<[String]>,
}

/// Why a text is no JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// RFC 6901: a pointer is empty or starts with `/`.
    #[error("a JSON pointer starts with `/`")]
    NoSlash,
    /// RFC 6901: `~` stands only in `~0` (for `~`) and `~1` (for `/`).
    #[error("in a JSON pointer `~` is written `~0` and `/` inside a name is written `~1`")]
    BadEscape,
}

impl Pointer {
    /// The names and indexes on the way, unescaped.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self { tokens: Arc::default() });
        }
        let rest = text.strip_prefix('/').ok_or(PointerError::NoSlash)?;
        let tokens = rest.split('/').map(unescape).collect::<Result<_, _>>()?;
        Ok(Self { tokens })
    }
}

fn unescape(token: &str) -> Result<String, PointerError> {
    let mut pieces = token.split('~');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (character, rest) = match (piece.strip_prefix('0'), piece.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            _ => return Err(PointerError::BadEscape),
        };
        name.push(character);
        name.push_str(rest);
    }
    Ok(name)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens.iter().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_reads_back_as_it_was_written() {
        for text in ["", "/", "/a/b", "/m~1n", "/~0~1", "/a//b"] {
            assert_eq!(text.parse::<Pointer>().map(|pointer| pointer.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        assert_eq!("id".parse::<Pointer>(), Err(PointerError::NoSlash));
        assert_eq!("/a~2".parse::<Pointer>(), Err(PointerError::BadEscape));
        assert_eq!("/a~".parse::<Pointer>(), Err(PointerError::BadEscape));
    }
}
