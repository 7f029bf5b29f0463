//! The fields of a body that JSON pointers name, found in one pass without building a tree.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Place, Pointer};

/// A set of pointers, ready to look up in many bodies.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    root: Node,
    pointers: Vec<Pointer>,
}

/// What is looked for at one place of a document.
#[derive(Clone, Debug, Default)]
struct Node {
    /// The pointers that end here.
    wanted: Vec<usize>,
    children: Vec<(String, Node)>,
}

/// What was found: the JSON text of one value a pointer, as it stands in the body.
pub type Found<'a> = Vec<Option<&'a str>>;

impl Fields {
    /// Prepares the pointers; [`Self::find`] answers in their order.
    #[must_use]
    pub fn new<'p>(pointers: impl IntoIterator<Item = &'p Pointer>) -> Self {
        let mut fields = Self::default();
        for pointer in pointers {
            fields.root.descend(pointer.tokens()).wanted.push(fields.pointers.len());
            fields.pointers.push(pointer.clone());
        }
        fields
    }

    /// The pointers, in their order.
    #[must_use]
    pub fn pointers(&self) -> &[Pointer] {
        &self.pointers
    }

    /// Finds every pointer's value; a duplicate key's last value wins.
    ///
    /// # Errors
    /// Fails when the body is no JSON text, or has a number beyond every double, or half a surrogate pair, in the place of an object that a
    /// pointer leads through.
    pub fn find<'a>(&self, body: &'a [u8]) -> Result<Found<'a>, serde_json::Error> {
        let mut places = Vec::new();
        let text = self.locate(body, &mut places)?;
        Ok(places.into_iter().map(|place| text.get(place?)).collect())
    }

    /// As [`Self::find`], but adds to `places` where each value stands. Gives the body as text.
    ///
    /// # Errors
    /// The same, and nothing is added.
    pub fn locate<'a>(&self, body: &'a [u8], places: &mut Vec<Place>) -> Result<&'a str, serde_json::Error> {
        // Once for the whole body: a parser of bytes does not look at the strings that it passes over.
        let text = std::str::from_utf8(body).map_err(serde::de::Error::custom)?;
        let first = places.len();
        places.resize(first + self.pointers.len(), None);
        let mut document = serde_json::Deserializer::from_str(text);
        let found = places.get_mut(first..).unwrap_or_default();
        let read = Look { node: &self.root, found, text }.deserialize(&mut document).and_then(|()| document.end());
        read.inspect_err(|_| places.truncate(first))?;
        Ok(text)
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
    fn forget(&self, found: &mut [Place]) {
        for index in &self.wanted {
            if let Some(slot) = found.get_mut(*index) {
                *slot = None;
            }
        }
        self.children.iter().for_each(|(_, child)| child.forget(found));
    }
}

/// A value, noted where its node wants it, and looked into where the node has children. What nobody wants is passed over in the same pass.
struct Look<'n, 'f, 'a> {
    node: &'n Node,
    found: &'f mut [Place],
    /// The whole body.
    text: &'a str,
}

impl<'de> DeserializeSeed<'de> for Look<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.node.forget(self.found);
        if self.node.wanted.is_empty() {
            return deserializer.deserialize_any(self);
        }
        let value = <&'de RawValue>::deserialize(deserializer)?;
        let start = value.get().as_ptr() as usize - self.text.as_ptr() as usize;
        for index in &self.node.wanted {
            if let Some(slot) = self.found.get_mut(*index) {
                *slot = Some(start..start + value.get().len());
            }
        }
        if self.node.children.is_empty() {
            return Ok(());
        }
        // Its bytes are read a second time: the parser cannot give a value and its members at once.
        serde_json::Deserializer::from_str(value.get()).deserialize_any(self).map_err(serde::de::Error::custom)
    }
}

impl<'de> Visitor<'de> for Look<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key_seed(Name)? {
            match self.node.child(&key) {
                Some(node) => map.next_value_seed(Look { node, found: self.found, text: self.text })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        for index in 0_usize.. {
            let more = match self.node.child(&index.to_string()) {
                Some(node) => seq.next_element_seed(Look { node, found: self.found, text: self.text })?.is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
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
        found.into_iter().map(|value| value.map(str::to_owned)).collect()
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
    fn what_stands_in_the_place_of_an_object_holds_nothing() {
        for body in
            ["1", "-1", "1.5", "null", "true", "\"text\"", "[]", "{\"a\":7}", "{\"a\":[\"b\"]}", "{\"a\":{\"b\":1},\"a\":null}"]
        {
            assert_eq!(find(&["/a/b", "/c"], body), [None, None], "{body}");
        }
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        let fields = Fields::new([&"/id".parse().expect("a pointer")]);
        for body in
            [&b""[..], b"{", b"{} x", b"\xff", b"{\"id\":\"\xff\"}", b"{\"other\":\"\xff\"}", b"{\"id\":1,}", b"{\"o\":01}"]
        {
            assert!(fields.find(body).is_err(), "{body:?}");
        }
    }
}
