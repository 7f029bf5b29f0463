//! A document that is opened only where a change leads. Everything else stays the text that it was.

use tidegate_plugin::json::{Kind, Problem, Scanner, Text};

use crate::MAX_DEPTH;
use crate::pointer::Pointer;
use crate::trail::{Trail, means};

/// Room for so many members at once: most objects of messages have no more.
const MEMBERS: usize = 8;

/// A value of the document.
#[derive(Clone, Debug)]
pub(crate) enum Node<'a> {
    /// Not opened: well-formed JSON.
    Text(&'a [u8]),
    Object(Vec<Member<'a>>),
    Array(Vec<Node<'a>>),
}

/// A member of an opened object.
#[derive(Clone, Debug)]
pub(crate) struct Member<'a> {
    key: Key<'a>,
    value: Node<'a>,
}

/// A key of an opened object.
#[derive(Clone, Copy, Debug)]
enum Key<'a> {
    /// As it stands in the document.
    Read(Text<'a>),
    /// What it means.
    Made(&'a str),
}

impl<'a> Node<'a> {
    /// Reads the next value, opened where the trail leads.
    pub(crate) fn read(scanner: &mut Scanner<'a>, trail: Option<&Trail>) -> Result<Self, Problem> {
        let Some(trail) = trail else { return scanner.skip_bytes().map(Self::Text) };
        match scanner.kind()? {
            Kind::Object => {
                let mut members = Vec::with_capacity(MEMBERS);
                scanner.object(|scanner, key| {
                    let value = Self::read(scanner, trail.member(&key))?;
                    members.push(Member { key: Key::Read(key), value });
                    Ok(())
                })?;
                Ok(Self::Object(members))
            }
            Kind::Array => {
                let mut items = Vec::new();
                scanner.array(|scanner| {
                    items.push(Self::read(scanner, trail.item(items.len()))?);
                    Ok(())
                })?;
                Ok(Self::Array(items))
            }
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => scanner.skip_bytes().map(Self::Text),
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
                taken.extend(members.extract_if(.., |member| member.key.is(&at.key)).map(|member| member.value))
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
                let place = members.iter().position(|member| member.key.is(&at.key));
                members.retain(|member| !member.key.is(&at.key));
                let member = Member { key: Key::Made(&at.key), value };
                members.insert(place.unwrap_or(members.len()).min(members.len()), member);
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
            if !matches!(value, Node::Text(text) if *text == json.as_bytes()) {
                *value = Node::Text(json.as_bytes());
                changed = true;
            }
        };
        self.each_parent(&at.parents, &mut |parent| match parent {
            Node::Object(members) => {
                members.iter_mut().filter(|member| member.key.is(&at.key)).for_each(|member| replace(&mut member.value));
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
                members.iter_mut().filter(|member| member.key.is(key)).for_each(|member| member.value.each_parent(rest, act));
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
            Node::Object(members) => members.iter_mut().rfind(|member| member.key.is(key)).map(|member| &mut member.value),
            Node::Array(items) => items.get_mut(index(key)?),
            Node::Text(_) => None,
        }
    }

    /// The same, and where an object has no such key an empty object is made for it.
    fn child_or_object(&mut self, key: &'a str) -> Option<&mut Self> {
        if self.child(key).is_none() {
            let Node::Object(members) = self else { return None };
            members.push(Member { key: Key::Made(key), value: Node::Object(Vec::new()) });
        }
        self.child(key)
    }

    /// It as JSON, which is expected to take so many bytes.
    pub(crate) fn to_json(&self, bytes: usize) -> Vec<u8> {
        let mut json = Vec::with_capacity(bytes);
        self.write(&mut json);
        json
    }

    fn write(&self, json: &mut Vec<u8>) {
        match self {
            Node::Text(text) => json.extend_from_slice(text),
            Node::Object(members) => {
                json.push(b'{');
                for (index, member) in members.iter().enumerate() {
                    json.extend((index > 0).then_some(b','));
                    member.key.write(json);
                    json.push(b':');
                    member.value.write(json);
                }
                json.push(b'}');
            }
            Node::Array(items) => {
                json.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    json.extend((index > 0).then_some(b','));
                    item.write(json);
                }
                json.push(b']');
            }
        }
    }

    /// Opens a text one level, if it is an object or an array: what a rename has put where a later change leads.
    fn open(&mut self) {
        let Node::Text(text) = self else { return };
        let (b'{' | b'[', text) = (text.first().copied().unwrap_or_default(), *text) else { return };
        let opened = Scanner::new(text, MAX_DEPTH).and_then(|mut scanner| Self::read(&mut scanner, Some(&Trail::default())));
        // It is known to be JSON.
        *self = opened.unwrap_or(Node::Text(text));
    }
}

impl Key<'_> {
    /// Whether it means this name.
    fn is(&self, name: &str) -> bool {
        match self {
            Key::Read(text) => means(text, name),
            Key::Made(made) => *made == name,
        }
    }

    fn write(&self, json: &mut Vec<u8>) {
        match self {
            Key::Read(text) => {
                json.push(b'"');
                json.extend_from_slice(text.raw_bytes());
                json.push(b'"');
            }
            Key::Made(name) => json.extend_from_slice(serde_json::Value::from(*name).to_string().as_bytes()),
        }
    }
}

/// An index of an array, as RFC 6901 writes it: digits without leading zeros.
fn index(key: &str) -> Option<usize> {
    let canonical = key == "0" || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
    if canonical { key.parse().ok() } else { None }
}
