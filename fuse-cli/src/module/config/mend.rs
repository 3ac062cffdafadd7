//! Mends one problem in a copy of the configuration, so that the parser can go on to the next.
//!
//! What is put in place of a wrong value must not make a new problem: a name stays unique, an event keeps its name,
//! a policy keeps what was right in it.

use std::collections::BTreeSet;

use fuse_edge::hal::Capabilities;
use serde_json::{Value, json};

use super::document::{Document, Part};
use super::lookup;

/// Mends what the runtime said about a path. `false` when nothing could be done.
pub(super) fn mend(document: &mut Document, path: &str, what: &str) -> bool {
    let Some(parts) = document.parts(path) else { return false };
    if let Some(key) = quoted(what, "` is missing") {
        return add_missing(document, &parts, key);
    }
    if what.starts_with("unknown field") || what.contains("is another name of") {
        return document.remove(&parts);
    }
    let keys: Vec<&str> =
        parts.iter().filter_map(|p| if let Part::Key(k) = p { Some(k.as_str()) } else { None }).collect();
    match (keys.as_slice(), parts.last()) {
        (["modules"], Some(Part::Key(_))) if document.value["modules"].is_array() => {
            raise_max_modules(document)
        }
        (["modules", "policy"], _) if what.contains(" is ") => {
            let field = what.split(' ').next().unwrap_or_default();
            document.remove(&[parts.as_slice(), &[Part::Key(field.into())]].concat())
        }
        (["modules", "policy", "capabilities"], Some(Part::Key(_))) => keep_enabled(document, &parts),
        (["application", "events", _], _) => give_free_id(document, &parts),
        (["application", "custom_groups"], Some(Part::Index(index))) => mend_group(document, &parts, *index),
        (_, Some(Part::Key(key))) => match placeholder(document, &parts, key) {
            Some(value) => set(document, &parts, value),
            None => document.remove(&parts),
        },
        (_, Some(Part::Index(_))) => document.remove(&parts),
        (_, None) => false,
    }
}

/// The word before `suffix`, between back quotes.
fn quoted<'a>(what: &'a str, suffix: &str) -> Option<&'a str> {
    what.strip_suffix(suffix)?.strip_prefix('`')
}

fn set(document: &mut Document, parts: &[Part], value: Value) -> bool {
    match document.get_mut(parts) {
        Some(place) if *place != value => {
            *place = value;
            true
        }
        _ => false,
    }
}

fn add_missing(document: &mut Document, parent: &[Part], key: &str) -> bool {
    let parts = [parent, &[Part::Key(key.into())]].concat();
    let Some(value) = placeholder(document, &parts, key) else { return false };
    match document.get_mut(parent) {
        Some(Value::Object(map)) => map.insert(key.into(), value).is_none(),
        _ => false,
    }
}

/// What stands in for a value that must be there. `None` where the default does.
fn placeholder(document: &Document, parts: &[Part], key: &str) -> Option<Value> {
    Some(match (key, parts) {
        // A name that no file holds: it has a character that JSON files rarely do, and says where it is from.
        ("name", _) => {
            let index = parts.iter().rev().find_map(|p| if let Part::Index(i) = p { Some(*i) } else { None });
            json!(format!("(unnamed {})", index.unwrap_or(0)))
        }
        ("binary", _) => json!(""),
        ("policy", _) => json!({}),
        ("functions", _) => json!([]),
        ("bit", _) => json!(free_bit(&document.value)?),
        ("application", [_]) => json!({"name": ""}),
        _ => return None,
    })
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value["application"][key].as_array().into_iter().flatten()
}

fn free_bit(value: &Value) -> Option<u64> {
    let taken: BTreeSet<u64> = items(value, "custom_groups").filter_map(|g| g["bit"].as_u64()).collect();
    (8..32).find(|bit| !taken.contains(bit))
}

fn raise_max_modules(document: &mut Document) -> bool {
    let count = document.value["modules"].as_array().map_or(0, Vec::len);
    if count > fuse_edge::app::MAX_MODULES_LIMIT as usize {
        return false;
    }
    match document.get_mut(&[Part::Key("application".into())]) {
        Some(Value::Object(map)) => map.insert("max_modules".into(), json!(count)) != Some(json!(count)),
        _ => false,
    }
}

/// An event keeps its name, so that those who subscribe to it are not reported as well.
fn give_free_id(document: &mut Document, parts: &[Part]) -> bool {
    let events = &document.value["application"]["events"];
    let taken: BTreeSet<u64> =
        events.as_object().into_iter().flatten().filter_map(|(_, id)| id.as_u64()).collect();
    match (0..32).find(|id| !taken.contains(id)) {
        Some(id) if lookup(&document.value, parts).and_then(Value::as_u64).is_none_or(|old| old > 31) => {
            set(document, parts, json!(id))
        }
        Some(id) if clashes(events, parts) => set(document, parts, json!(id)),
        _ => document.remove(parts),
    }
}

/// Whether another event has the id of this one.
fn clashes(events: &Value, parts: &[Part]) -> bool {
    let Some(Part::Key(name)) = parts.last() else { return false };
    let events = events.as_object();
    let own = events.and_then(|map| map.get(name));
    events.into_iter().flatten().any(|(other, id)| other != name && Some(id) == own)
}

/// Leaves a policy the capabilities that the application enables.
fn keep_enabled(document: &mut Document, parts: &[Part]) -> bool {
    let Some(asked) = lookup(&document.value, parts) else { return false };
    let custom = |name: &str| {
        items(&document.value, "custom_groups").find(|g| g["name"] == *name).and_then(|g| g["bit"].as_u64())
    };
    let bit = |name: &Value| {
        let name = name.as_str()?;
        Capabilities::from_name(name).map(Capabilities::bits).or_else(|| Some(1 << (custom(name)? & 31)))
    };
    let asked = match asked {
        Value::Array(list) => list.iter().filter_map(bit).fold(0, |all, one| all | one),
        Value::String(_) => bit(asked).unwrap_or(0),
        number => number.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
    };
    let built_in = match &document.value["application"]["hal_groups"] {
        Value::Array(list) => list
            .iter()
            .filter_map(|name| Capabilities::from_name(name.as_str()?))
            .fold(Capabilities::LOG | Capabilities::EVENT_POST, |all, one| all | one),
        _ => Capabilities::compiled_in(),
    };
    let groups = items(&document.value, "custom_groups").filter_map(|g| g["bit"].as_u64());
    let enabled = groups.fold(built_in.bits(), |all, bit| all | 1 << (bit & 31));
    set(document, parts, json!(asked & enabled))
}

/// A group keeps its name where it can, so that policies that ask for it are not reported as well.
fn mend_group(document: &mut Document, parts: &[Part], index: usize) -> bool {
    let groups: Vec<&Value> = items(&document.value, "custom_groups").collect();
    let Some(group) = groups.get(index) else { return document.remove(parts) };
    if !group.is_object() {
        return document.remove(parts);
    }
    let others = || groups.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, g)| *g);
    let bit = group["bit"].as_u64().unwrap_or(0);
    let name = group["name"].as_str().unwrap_or_default();
    let change = if others().any(|g| g["bit"] == bit) || !(8..32).contains(&bit) {
        free_bit(&document.value).map(|bit| ("bit", json!(bit)))
    } else if others().any(|g| g["name"] == name)
        || name.is_empty()
        || Capabilities::from_name(name).is_some()
    {
        Some(("name", json!(format!("(group {index})"))))
    } else {
        Some(("functions", json!([])))
    };
    match change {
        Some((key, value)) => set(document, &[parts, &[Part::Key(key.into())]].concat(), value),
        None => document.remove(parts),
    }
}
