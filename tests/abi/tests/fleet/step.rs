//! A step of a scenario, and what is expected of it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::calls::Refusal;

/// What a call came to: the text of its answer, or the error.
pub(super) type Outcome = Result<String, Refusal>;

/// A step that knows which of its members were looked at.
pub(super) struct Step<'a> {
    value: &'a Value,
    used: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Step<'a> {
    pub(super) fn new(value: &'a Value) -> Self {
        Self { value, used: RefCell::default() }
    }

    pub(super) fn get(&self, key: &str) -> &'a Value {
        if let Some((key, _)) = self.value.as_object().and_then(|members| members.get_key_value(key)) {
            self.used.borrow_mut().insert(key);
        }
        &self.value[key]
    }

    /// All of it.
    pub(super) fn whole(&self) -> Value {
        self.used
            .borrow_mut()
            .extend(self.value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()));
        self.value.clone()
    }

    pub(super) fn text(&self, key: &str) -> Result<&'a str, String> {
        self.get(key).as_str().ok_or_else(|| format!("{key:?} is not a text"))
    }

    pub(super) fn read<T: DeserializeOwned>(&self, key: &str) -> Result<T, String> {
        let value = self.get(key);
        let value = if value.is_null() { Value::Object(Default::default()) } else { value.clone() };
        serde_json::from_value(value).map_err(|e| format!("{key}: {e}"))
    }

    pub(super) fn unused(&self) -> Option<&'a str> {
        let used = self.used.borrow();
        self.value.as_object()?.keys().map(String::as_str).find(|key| !used.contains(key))
    }
}

/// Compares, where something is wanted.
pub(super) fn expect(what: &str, got: impl Into<Value>, want: &Value) -> Result<(), String> {
    let got = got.into();
    if want.is_null() || got == *want { Ok(()) } else { Err(format!("{what} is {got} and should be {want}")) }
}

pub(super) fn as_request(body: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(body).map_err(|e| e.to_string())
}

pub(super) fn typed<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| format!("the answer {text:?}: {e}"))
}

pub(super) fn json_of(text: &str) -> Result<Value, String> {
    typed(text)
}

pub(super) fn text_of(value: &Value, key: &str) -> Result<String, String> {
    value[key].as_str().map(ToOwned::to_owned).ok_or_else(|| format!("{key:?} is not in {value}"))
}
