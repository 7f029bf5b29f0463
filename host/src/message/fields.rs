//! The fields of a body that JSON pointers name, found in one pass without building a tree.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Pointer;

/// A set of pointers, ready to look up in many bodies.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    root: Node,
    count: usize,
}

/// What is looked for at one place of a document.
#[derive(Clone, Debug, Default)]
struct Node {
    /// The pointers that end here.
    wanted: Vec<usize>,
    children: Vec<(String, Node)>,
}

/// What was found: one raw value a pointer, as it stands in the body.
pub type Found<'a> = Vec<Option<&'a RawValue>>;

impl Fields {
    /// Prepares the pointers; [`Self::find`] answers in their order.
    #[must_use]
    pub fn new<'p>(pointers: impl IntoIterator<Item = &'p Pointer>) -> Self {
        let mut fields = Self::default();
        for pointer in pointers {
            fields.root.descend(pointer.tokens()).wanted.push(fields.count);
            fields.count += 1;
        }
        fields
    }

    /// Finds every pointer's value; a duplicate key's last value wins.
    ///
    /// # Errors
    /// Fails when the body is no JSON text.
    pub fn find<'a>(&self, body: &'a [u8]) -> Result<Found<'a>, serde_json::Error> {
        let mut found = vec![None; self.count];
        let document: &'a RawValue = serde_json::from_slice(body)?;
        look(&self.root, document, &mut found)?;
        Ok(found)
    }
}

impl Node {
    fn descend(&mut self, tokens: &[String]) -> &mut Self {
        let Some((token, rest)) = tokens.split_first() else { return self };
        let at = self.children.iter().position(|(name, _)| name == token).unwrap_or_else(|| {
            self.children.push((token.clone(), Self::default()));
            self.children.len() - 1
        });
        let (_, child) = self.children.get_mut(at).expect("the child was found or has just been added");
        child.descend(rest)
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|(child, _)| child == name).map(|(_, node)| node)
    }

    /// A later value of the same key hides all that an earlier one gave.
    fn forget(&self, found: &mut Found<'_>) {
        for index in &self.wanted {
            if let Some(slot) = found.get_mut(*index) {
                *slot = None;
            }
        }
        self.children.iter().for_each(|(_, child)| child.forget(found));
    }
}

/// Notes `value` where this node wants it, and looks for the node's children inside it.
fn look<'a>(node: &Node, value: &'a RawValue, found: &mut Found<'a>) -> Result<(), serde_json::Error> {
    node.forget(found);
    for index in &node.wanted {
        if let Some(slot) = found.get_mut(*index) {
            *slot = Some(value);
        }
    }
    if node.children.is_empty() || !value.get().starts_with(['{', '[']) {
        return Ok(());
    }
    Inside { node, found }.deserialize(&mut serde_json::Deserializer::from_str(value.get()))
}

/// A container whose members are looked at.
struct Inside<'n, 'f, 'a> {
    node: &'n Node,
    found: &'f mut Found<'a>,
}

impl<'de> DeserializeSeed<'de> for Inside<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inside<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key_seed(Name)? {
            match self.node.child(&key) {
                Some(child) => look(child, map.next_value()?, self.found).map_err(serde::de::Error::custom)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        let mut index = 0_usize;
        while let Some(value) = seq.next_element::<&'de RawValue>()? {
            if let Some(child) = self.node.child(&index.to_string()) {
                look(child, value, self.found).map_err(serde::de::Error::custom)?;
            }
            index += 1;
        }
        Ok(())
    }
}

/// A key, borrowed where it holds no escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pointers: &[&str], body: &str) -> Vec<Option<String>> {
        let pointers: Vec<Pointer> = pointers.iter().map(|text| text.parse().expect("a pointer")).collect();
        let found = Fields::new(&pointers).find(body.as_bytes()).expect("JSON");
        found.into_iter().map(|value| value.map(|raw| raw.get().to_owned())).collect()
    }

    #[test]
    fn values_are_found_as_they_stand_in_the_body() {
        let body = r#" {"id" : "a\u0041", "message":{"content":"x", "n": 1.50 }, "list":[1,{"k":null}]} "#;
        let found = find(&["/id", "/message/n", "/message", "/list/1/k", "/none", ""], body);
        let expected =
            [Some(r#""a\u0041""#), Some("1.50"), Some(r#"{"content":"x", "n": 1.50 }"#), Some("null"), None, Some(body.trim())];
        assert_eq!(found, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn the_last_value_of_a_duplicate_key_wins_whole() {
        let body = r#"{"message":{"content":"first","server_name":"s"},"message":{"content":"last"},"id":1,"id":2}"#;
        let found = find(&["/message/content", "/message/server_name", "/id"], body);
        assert_eq!(found, [Some("\"last\"".to_owned()), None, Some("2".to_owned())]);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        let fields = Fields::new([&"/id".parse().expect("a pointer")]);
        for body in [&b""[..], b"{", b"{} x", b"\xff", b"{\"id\":\"\xff\"}"] {
            assert!(fields.find(body).is_err(), "{body:?}");
        }
    }
}
