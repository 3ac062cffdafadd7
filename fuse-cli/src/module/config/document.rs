//! A JSON document that can be mended: values can be taken out, and every path still leads back to the file.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Key(String),
    Index(usize),
}

/// The path in the runtime's notation.
fn written(parts: &[Part]) -> String {
    parts.iter().fold("$".into(), |path, part| match part {
        Part::Key(key) => format!("{path}.{key}"),
        Part::Index(index) => format!("{path}[{index}]"),
    })
}

/// A document, and what was taken out of its lists.
pub(super) struct Document {
    pub(super) value: Value,
    /// For each list, by its path in the file: the places in the file of the items that are left.
    kept: BTreeMap<String, Vec<usize>>,
}

impl Document {
    pub(super) fn new(value: Value) -> Self {
        Self { value, kept: BTreeMap::new() }
    }

    pub(super) fn text(&self) -> String {
        self.value.to_string()
    }

    /// The steps of a path that the runtime named. Keys may hold any character, so the document decides where
    /// each ends.
    pub(super) fn parts(&self, path: &str) -> Option<Vec<Part>> {
        let mut rest = path.strip_prefix('$')?;
        let mut at = Some(&self.value);
        let mut parts = Vec::new();
        while !rest.is_empty() {
            if let Some(index) = rest.strip_prefix('[') {
                let (digits, after) = index.split_once(']')?;
                let index = digits.parse().ok()?;
                at = at.and_then(|value| value.get(index));
                parts.push(Part::Index(index));
                rest = after;
                continue;
            }
            let name = rest.strip_prefix('.')?;
            let ends = |key: &&String| {
                name.strip_prefix(key.as_str()).is_some_and(|r| r.is_empty() || r.starts_with(['.', '[']))
            };
            let known =
                at.and_then(Value::as_object).and_then(|map| map.keys().filter(ends).max_by_key(|k| k.len()));
            let len = known.map_or_else(|| name.find(['.', '[']).unwrap_or(name.len()), String::len);
            let key = name.get(..len)?;
            at = at.and_then(|value| value.get(key));
            parts.push(Part::Key(key.into()));
            rest = name.get(len..)?;
        }
        Some(parts)
    }

    /// Where the value at this path of the document is in the file.
    pub(super) fn original(&self, path: &str) -> String {
        let Some(parts) = self.parts(path) else { return path.into() };
        let mut out: Vec<Part> = Vec::new();
        for part in parts {
            let part = match part {
                Part::Index(i) => {
                    let place = self.kept.get(&written(&out)).and_then(|kept| kept.get(i));
                    Part::Index(place.copied().unwrap_or(i))
                }
                key @ Part::Key(_) => key,
            };
            out.push(part);
        }
        written(&out)
    }

    /// The value at a path.
    pub(super) fn get_mut(&mut self, parts: &[Part]) -> Option<&mut Value> {
        parts.iter().try_fold(&mut self.value, |at, part| match part {
            Part::Key(key) => at.get_mut(key.as_str()),
            Part::Index(index) => at.get_mut(*index),
        })
    }

    /// Takes out a member or an item. `false` when there is none.
    pub(super) fn remove(&mut self, parts: &[Part]) -> bool {
        let Some((last, parent)) = parts.split_last() else { return false };
        let place = self.original(&written(parent));
        match (self.get_mut(parent), last) {
            (Some(Value::Object(map)), Part::Key(key)) => map.shift_remove(key).is_some(),
            (Some(Value::Array(list)), Part::Index(index)) if *index < list.len() => {
                let len = list.len();
                list.remove(*index);
                self.kept.entry(place).or_insert_with(|| (0..len).collect()).remove(*index);
                true
            }
            _ => false,
        }
    }
}

/// Parses a text; also gives the paths of keys that are there twice. The last one counts.
pub(super) fn parse(text: &str) -> Result<(Value, Vec<String>), serde_json::Error> {
    let mut twice = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Seed { path: "$".into(), twice: &mut twice }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, twice))
}

/// Builds a value, knowing where it is.
struct Seed<'a> {
    path: String,
    twice: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let seed = Seed { path: format!("{}[{}]", self.path, list.len()), twice: self.twice };
            match seq.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = format!("{}.{key}", self.path);
            let value = access.next_value_seed(Seed { path: path.clone(), twice: self.twice })?;
            if map.insert(key, value).is_some() {
                self.twice.push(path);
            }
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::new(parse(text).unwrap().0)
    }

    #[test]
    fn paths_lead_back_to_the_file_after_items_are_taken_out() {
        let mut document = document(r#"{"a": [0, 1, [10, 11, 12], 3]}"#);
        for path in ["$.a[0]", "$.a[0]"] {
            let parts = document.parts(path).unwrap();
            assert!(document.remove(&parts));
        }
        assert_eq!(document.original("$.a[0]"), "$.a[2]");
        let parts = document.parts("$.a[0][1]").unwrap();
        assert!(document.remove(&parts));
        assert_eq!(document.original("$.a[0][1]"), "$.a[2][2]");
        assert_eq!(document.text(), r#"{"a":[[10,12],3]}"#);
        assert!(!document.remove(&[Part::Key("b".into())]));
    }

    #[test]
    fn keys_with_dots_and_brackets_are_one_step() {
        let document = document(r#"{"a": 1, "a.b[0]": {"c": 2}}"#);
        assert_eq!(
            document.parts("$.a.b[0].c"),
            Some(vec![Part::Key("a.b[0]".into()), Part::Key("c".into())])
        );
    }
}
