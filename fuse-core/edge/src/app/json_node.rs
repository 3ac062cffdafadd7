//! JSON as it was written: objects keep every member, so that a key that is there twice is found, and each
//! value knows its path.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{Error, Result};

/// Any JSON value.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool,
    /// Not negative, no fraction.
    Integer(u64),
    /// Any other number.
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Number(n) if *n < 0.0 => "a negative number",
            Self::Number(_) => "a number with a fraction, or too large",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Bool)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(u64::try_from(value).map_or(Node::Number(value as f64), Node::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members: Vec<(String, Node)> = Vec::new();
        while let Some((key, node)) = map.next_entry::<String, Node>()? {
            members.push((key, node));
        }
        Ok(Node::Object(members))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// Parses a whole text.
pub(super) fn parse(text: &str) -> Result<Node> {
    serde_json::from_str(text)
        .map_err(|e| Error::Config { path: "$".into(), what: format!("this is not valid JSON: {e}") })
}

/// A value and where it is.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
}

impl<'a> Cursor<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node, path: "$".into() }
    }

    pub(super) fn error(&self, what: impl Into<String>) -> Error {
        Error::Config { path: self.path.clone(), what: what.into() }
    }

    fn expected(&self, what: &str) -> Error {
        self.error(format!("expected {what}, found {}", self.node.kind()))
    }

    pub(super) fn object(&self) -> Result<Members<'a>> {
        match self.node {
            Node::Object(members) => {
                if let Some((key, _)) = members.iter().enumerate().find_map(|(i, member)| {
                    members[..i].iter().any(|(k, _)| *k == member.0).then_some(member)
                }) {
                    let path = format!("{}.{key}", self.path);
                    return Err(Error::Config { path, what: "the key is there twice".into() });
                }
                Ok(Members { members, path: self.path.clone(), asked: RefCell::new(Vec::new()) })
            }
            _ => Err(self.expected("an object")),
        }
    }

    pub(super) fn list(&self) -> Result<impl Iterator<Item = Cursor<'a>>> {
        match self.node {
            Node::List(items) => {
                let path = self.path.clone();
                Ok(items
                    .iter()
                    .enumerate()
                    .map(move |(i, node)| Cursor { node, path: format!("{path}[{i}]") }))
            }
            _ => Err(self.expected("a list")),
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node, Node::List(_))
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.node, Node::Text(_))
    }

    pub(super) fn text(&self) -> Result<&'a str> {
        match self.node {
            Node::Text(text) => Ok(text),
            _ => Err(self.expected("a string")),
        }
    }

    /// An integer from 0 to `max`.
    pub(super) fn integer(&self, max: u64) -> Result<u64> {
        match self.node {
            Node::Integer(value) if *value <= max => Ok(*value),
            Node::Integer(value) => {
                Err(self.error(format!("{value} is too large; at most {max} is possible")))
            }
            _ => Err(self.expected(&format!("an integer from 0 to {max}"))),
        }
    }

    pub(super) fn u32(&self) -> Result<u32> {
        // The range has been checked.
        Ok(self.integer(u64::from(u32::MAX))? as u32)
    }
}

/// The members of an object; those that were not asked for are unknown fields.
pub(super) struct Members<'a> {
    members: &'a [(String, Node)],
    path: String,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Members<'a> {
    pub(super) fn get(&self, key: &'static str) -> Option<Cursor<'a>> {
        self.asked.borrow_mut().push(key);
        let (_, node) = self.members.iter().find(|(k, _)| k == key)?;
        Some(Cursor { node, path: format!("{}.{key}", self.path) })
    }

    pub(super) fn require(&self, key: &'static str) -> Result<Cursor<'a>> {
        self.get(key)
            .ok_or_else(|| Error::Config { path: self.path.clone(), what: format!("`{key}` is missing") })
    }

    /// The value under one of two names, which must not both be there.
    pub(super) fn get_alias(&self, key: &'static str, alias: &'static str) -> Result<Option<Cursor<'a>>> {
        match (self.get(key), self.get(alias)) {
            (Some(_), Some(second)) => {
                Err(second.error(format!("`{alias}` is another name of `{key}`; give one")))
            }
            (first, second) => Ok(first.or(second)),
        }
    }

    /// All members, with any key.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'a str, Cursor<'a>)> {
        self.members
            .iter()
            .map(|(key, node)| (key.as_str(), Cursor { node, path: format!("{}.{key}", self.path) }))
    }

    /// Refuses members that nobody asked for. Call it last.
    pub(super) fn finish(&self) -> Result<()> {
        let asked = self.asked.borrow();
        match self.members.iter().find(|(key, _)| !asked.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) => Err(Error::Config {
                path: format!("{}.{key}", self.path),
                what: format!("unknown field; known are {}", asked.join(", ")),
            }),
        }
    }
}
