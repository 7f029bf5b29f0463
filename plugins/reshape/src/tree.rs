//! A document that is opened only where a change leads. Everything else stays the text that it was.

use std::borrow::Cow;
use std::fmt;

use tidegate_plugin::json::{Kind, Problem, Scanner};

use crate::MAX_DEPTH;
use crate::pointer::Pointer;
use crate::trail::Trail;

/// Room for so many members at once: most objects of messages have no more.
const MEMBERS: usize = 8;

/// A value of the document.
#[derive(Clone, Debug)]
pub(crate) enum Node<'a> {
    /// Not opened: well-formed JSON.
    Text(&'a str),
    Object(Vec<Member<'a>>),
    Array(Vec<Node<'a>>),
}

/// A member of an opened object.
#[derive(Clone, Debug)]
pub(crate) struct Member<'a> {
    /// What the key means.
    key: Cow<'a, str>,
    /// How it stands in the document, without quotes.
    raw_key: Cow<'a, str>,
    value: Node<'a>,
}

impl<'a> Node<'a> {
    /// Reads the next value, opened where the trail leads.
    pub(crate) fn read(scanner: &mut Scanner<'a>, trail: Option<&Trail>) -> Result<Self, Problem> {
        let Some(trail) = trail else { return scanner.skip().map(Self::Text) };
        match scanner.kind()? {
            Kind::Object => {
                let mut members = Vec::with_capacity(MEMBERS);
                scanner.object(|scanner, key| {
                    let name = key.decoded();
                    let value = Self::read(scanner, trail.inside(&name))?;
                    members.push(Member { key: name, raw_key: key.raw().into(), value });
                    Ok(())
                })?;
                Ok(Self::Object(members))
            }
            Kind::Array => {
                let mut items = Vec::new();
                scanner.array(|scanner| {
                    let inside = if trail.is_end() { None } else { trail.inside(&items.len().to_string()) };
                    items.push(Self::read(scanner, inside)?);
                    Ok(())
                })?;
                Ok(Self::Array(items))
            }
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => scanner.skip().map(Self::Text),
        }
    }

    /// Whether something stands there.
    pub(crate) fn has(&mut self, at: &Pointer) -> bool {
        at.parents.iter().try_fold(self, |node, key| node.child(key)).is_some_and(|parent| parent.child(&at.key).is_some())
    }

    /// Takes out what stands there, shadowed duplicates included, in document order: what counts is the last, if [`Node::has`] says that
    /// anything does.
    pub(crate) fn take(&mut self, at: &Pointer) -> Vec<Node<'a>> {
        let mut taken = Vec::new();
        self.each_parent(&at.parents, &mut |parent| match parent {
            Node::Object(members) => {
                taken.extend(members.extract_if(.., |member| member.key == at.key).map(|member| member.value))
            }
            Node::Array(items) => {
                taken.extend(index(&at.key).filter(|index| *index < items.len()).map(|index| items.remove(index)))
            }
            Node::Text(_) => {}
        });
        taken
    }

    /// Puts a value there, in place of what stands there, or behind the other members. Makes the objects on the way. Gives false, and changes
    /// nothing, where something else than an object is in the way.
    pub(crate) fn put(&mut self, at: &'a Pointer, value: Node<'a>) -> bool {
        let Some(parent) = at.parents.iter().try_fold(self, |node, key| node.child_or_object(key)) else { return false };
        parent.open();
        match parent {
            Node::Object(members) => {
                let place = members.iter().position(|member| member.key == at.key);
                members.retain(|member| member.key != at.key);
                members.insert(place.unwrap_or(members.len()).min(members.len()), Member::new(&at.key, value));
                true
            }
            Node::Array(items) => match index(&at.key).and_then(|index| items.get_mut(index)) {
                Some(item) => {
                    *item = value;
                    true
                }
                None => false,
            },
            Node::Text(_) => false,
        }
    }

    /// Replaces what stands there by other JSON, shadowed duplicates included. Gives false where nothing changes.
    pub(crate) fn overwrite(&mut self, at: &Pointer, json: &'a str) -> bool {
        let mut changed = false;
        let mut replace = |value: &mut Node<'a>| {
            if !matches!(value, Node::Text(text) if *text == json) {
                *value = Node::Text(json);
                changed = true;
            }
        };
        self.each_parent(&at.parents, &mut |parent| match parent {
            Node::Object(members) => {
                members.iter_mut().filter(|member| member.key == at.key).for_each(|member| replace(&mut member.value));
            }
            Node::Array(items) => {
                if let Some(item) = index(&at.key).and_then(|index| items.get_mut(index)) {
                    replace(item);
                }
            }
            Node::Text(_) => {}
        });
        changed
    }

    /// Calls `act` on everything that these keys lead to, opened, by way of shadowed duplicates too: a reader that takes the first of them must
    /// not find there what was to be gone.
    fn each_parent(&mut self, keys: &[String], act: &mut impl FnMut(&mut Node<'a>)) {
        self.open();
        let Some((key, rest)) = keys.split_first() else { return act(self) };
        match self {
            Node::Object(members) => {
                members.iter_mut().filter(|member| member.key == *key).for_each(|member| member.value.each_parent(rest, act));
            }
            Node::Array(items) => {
                if let Some(item) = index(key).and_then(|index| items.get_mut(index)) {
                    item.each_parent(rest, act);
                }
            }
            Node::Text(_) => {}
        }
    }

    /// The value of a key, or of an index; of duplicates the last.
    fn child(&mut self, key: &str) -> Option<&mut Self> {
        self.open();
        match self {
            Node::Object(members) => members.iter_mut().rfind(|member| member.key == key).map(|member| &mut member.value),
            Node::Array(items) => items.get_mut(index(key)?),
            Node::Text(_) => None,
        }
    }

    /// The same, and where an object has no such key an empty object is made for it.
    fn child_or_object(&mut self, key: &'a str) -> Option<&mut Self> {
        if self.child(key).is_none() {
            let Node::Object(members) = self else { return None };
            members.push(Member::new(key, Node::Object(Vec::new())));
        }
        self.child(key)
    }

    /// Opens a text one level, if it is an object or an array: what a rename has put where a later change leads.
    fn open(&mut self) {
        let Node::Text(text) = self else { return };
        if !text.starts_with(['{', '[']) {
            return;
        }
        let opened =
            Scanner::new(text.as_bytes(), MAX_DEPTH).and_then(|mut scanner| Self::read(&mut scanner, Some(&Trail::default())));
        // It is known to be JSON.
        *self = opened.unwrap_or(Node::Text(text));
    }
}

impl<'a> Member<'a> {
    fn new(key: &'a str, value: Node<'a>) -> Self {
        let quoted = serde_json::Value::from(key).to_string();
        let raw_key = quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned();
        Self { key: key.into(), raw_key: raw_key.into(), value }
    }
}

/// An index of an array, as RFC 6901 writes it: digits without leading zeros.
fn index(key: &str) -> Option<usize> {
    let canonical = key == "0" || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
    if canonical { key.parse().ok() } else { None }
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Text(text) => f.write_str(text),
            Node::Object(members) => {
                f.write_str("{")?;
                for (index, member) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}\"{}\":{}", member.raw_key, member.value)?;
                }
                f.write_str("}")
            }
            Node::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
        }
    }
}
