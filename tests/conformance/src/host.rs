//! The host's side of a scenario: callbacks that follow a script and record how they were called.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fuse_edge::hal::{HalCall, HalGroup, HalResult, Param, Value, ValueType};
use fuse_edge::{EventId, EventPoster, HalFault, ManualClock, Runtime};
use serde_json::{Number, Value as Json};

use crate::scenario::{Answer, Function, Group};

/// The calls that callbacks have seen, by function, each with its arguments.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    seen: Arc<Mutex<BTreeMap<String, Vec<Vec<Json>>>>>,
}

impl Calls {
    fn record(&self, function: &str, arguments: Vec<Json>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(function.into()).or_default().push(arguments);
    }

    /// The calls of a function since this was last asked.
    #[must_use]
    pub fn take(&self, function: &str) -> Vec<Vec<Json>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(function).unwrap_or_default()
    }
}

/// What a host shares with its callbacks.
#[derive(Clone)]
pub struct Host {
    /// Where calls are recorded.
    pub calls: Calls,
    /// The clock that answers may move.
    pub clock: ManualClock,
    /// The handle that answers may post with.
    pub poster: EventPoster,
}

/// A callback's script.
struct Script {
    function: String,
    answers: Vec<Answer>,
    next: usize,
    host: Host,
}

impl Script {
    fn new(function: &str, answers: Vec<Answer>, host: &Host) -> Self {
        Self { function: function.into(), answers, next: 0, host: host.clone() }
    }

    /// Records a call, and does of the next answer what does not depend on the signature.
    fn begin(&mut self, arguments: Vec<Json>) -> HalResult<Answer> {
        self.host.calls.record(&self.function, arguments);
        let answer = self.answers.get(self.next).or(self.answers.last()).cloned().unwrap_or_default();
        self.next += 1;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(answer.spin_us) {
            std::hint::spin_loop();
        }
        self.host.clock.advance_us(answer.advance_us);
        for event in answer.post.iter().filter_map(|id| EventId::new(*id).ok()) {
            self.host.poster.post(event);
        }
        match answer.fail {
            Some(code) => Err(HalFault { code }),
            None => Ok(answer),
        }
    }

    fn number(&self, answer: &Answer) -> Number {
        if answer.clock {
            return self.host.clock.now_us().into();
        }
        answer.value.clone().unwrap_or_else(|| 0.into())
    }
}

/// Registers the callback of a built-in import.
///
/// # Errors
/// When there is no built-in import of this name with a callback.
pub fn set_callback(
    rt: &mut Runtime,
    host: &Host,
    function: &str,
    answers: Vec<Answer>,
) -> Result<(), String> {
    let mut script = Script::new(function, answers, host);
    match function {
        "temp_get_reading" => rt.set_temp(move || {
            let answer = script.begin(Vec::new())?;
            Ok(script.number(&answer).as_f64().unwrap_or(f64::NAN) as f32)
        }),
        "timer_get_timestamp" => rt.set_timer(move || {
            let answer = script.begin(Vec::new())?;
            Ok(script.number(&answer).as_i64().unwrap_or(i64::MIN))
        }),
        "camera_last_frame" => rt.set_camera(move |buffer| {
            let answer = script.begin(vec![buffer.len().into()])?;
            let written = fill(buffer, answer.bytes.as_deref());
            Ok(answer.claim.unwrap_or(written))
        }),
        other => return Err(format!("`{other}` is not a built-in import with a callback")),
    }
    Ok(())
}

/// Builds a group of scripted functions.
///
/// # Errors
/// When a type's name is unknown.
pub fn build_group(host: &Host, group: &Group) -> Result<HalGroup, String> {
    let mut built = HalGroup::new(&group.name, group.bit);
    for function in &group.functions {
        let (params, result) = signature(function)?;
        let mut script = Script::new(&function.name, function.script.clone(), host);
        let shape = params.clone();
        built = built.function(&function.name, &params, result, move |call| {
            let answer = script.begin(arguments(call, &shape))?;
            let writable = shape.iter().position(|p| matches!(p, Param::Out | Param::InOut));
            if let Some(index) = writable {
                fill(call.buffer_mut(index), answer.bytes.as_deref());
            }
            let Some(result) = result else { return Ok(None) };
            if answer.return_wrong_type {
                return Ok(Some(if result == ValueType::F64 { Value::I32(0) } else { Value::F64(0.0) }));
            }
            Ok(Some(value(&script.number(&answer), result)))
        });
    }
    Ok(built)
}

fn signature(function: &Function) -> Result<(Vec<Param>, Option<ValueType>), String> {
    let unknown = |name: &str| format!("function `{}`: unknown type `{name}`", function.name);
    let params = function.params.iter().map(|n| Param::from_name(n).ok_or_else(|| unknown(n)));
    let result = function.results.first().map(|n| ValueType::from_name(n).ok_or_else(|| unknown(n)));
    Ok((params.collect::<Result<_, _>>()?, result.transpose()?))
}

fn arguments(call: &mut HalCall<'_>, shape: &[Param]) -> Vec<Json> {
    let shown = |(index, param): (usize, &Param)| match param {
        Param::In | Param::InOut => Json::from(to_hex(call.buffer(index))),
        Param::Out => Json::from(call.buffer_mut(index).len()),
        Param::Value(_) => match call.value(index) {
            Some(Value::I32(v)) => v.into(),
            Some(Value::I64(v)) => v.into(),
            Some(Value::F32(v)) => f64::from(v).into(),
            Some(Value::F64(v)) => v.into(),
            None => Json::Null,
        },
    };
    shape.iter().enumerate().map(shown).collect()
}

fn value(number: &Number, ty: ValueType) -> Value {
    let (int, float) = (number.as_i64().unwrap_or_default(), number.as_f64().unwrap_or_default());
    match ty {
        ValueType::I32 => Value::I32(int as i32),
        ValueType::I64 => Value::I64(int),
        ValueType::F32 => Value::F32(float as f32),
        ValueType::F64 => Value::F64(float),
    }
}

fn fill(buffer: &mut [u8], hex: Option<&str>) -> usize {
    let bytes = hex.and_then(|h| from_hex(h).ok()).unwrap_or_default();
    let count = bytes.len().min(buffer.len());
    buffer[..count].copy_from_slice(&bytes[..count]);
    count
}

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes of hexadecimal; spaces are allowed.
///
/// # Errors
/// When it is not hexadecimal of whole bytes.
pub fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("`{text}` has an odd number of digits"));
    }
    let byte = |pair: &[u8; 2]| std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok());
    pairs.iter().map(|p| byte(p).ok_or_else(|| format!("`{text}` is not hexadecimal"))).collect()
}
