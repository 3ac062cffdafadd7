//! Groups of HAL functions that the host registers, with typed signatures and checked buffers.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::{Capabilities, HalResult};
use crate::error::{Error, Result};

/// First capability bit of host groups.
pub(crate) const CUSTOM_BIT_MIN: u8 = 8;
/// Most parameters of one function.
pub(crate) const PARAMS_MAX: usize = 16;

/// A number type of wasm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
}

impl ValueType {
    /// The type of this name: `i32`, `i64`, `f32` or `f64`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "i32" => Self::I32,
            "i64" => Self::I64,
            "f32" => Self::F32,
            "f64" => Self::F64,
            _ => return None,
        })
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// One parameter of a host function. A buffer is two wasm parameters, pointer and length (`i32`, `i32`); a
/// range outside linear memory traps the module before the callback is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Param {
    /// A number.
    Value(ValueType),
    /// Bytes that the host reads.
    In,
    /// Bytes that the host writes.
    Out,
    /// Bytes that the host reads and writes.
    InOut,
}

impl Param {
    /// The parameter of this name: `i32`, `i64`, `f32`, `f64`, `in`, `out` or `inout`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "in" => Self::In,
            "out" => Self::Out,
            "inout" => Self::InOut,
            other => Self::Value(ValueType::from_name(other)?),
        })
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Value(v) => v.name(),
            Self::In => "in",
            Self::Out => "out",
            Self::InOut => "inout",
        }
    }

    pub(crate) const fn is_buffer(self) -> bool {
        !matches!(self, Self::Value(_))
    }
}

/// A number that crosses between a module and the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// 32-bit float.
    F32(f32),
    /// 64-bit float.
    F64(f64),
}

impl Value {
    /// The type.
    #[must_use]
    pub const fn value_type(self) -> ValueType {
        match self {
            Self::I32(_) => ValueType::I32,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
        }
    }
}

/// The name and signature of one function of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionDecl {
    /// The import's name, in the module `env`.
    pub name: String,
    /// At most 16 parameters.
    pub params: Vec<Param>,
    /// The result, if any.
    pub result: Option<ValueType>,
}

impl fmt::Display for FunctionDecl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (i, p) in self.params.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { ", " }, p.name())?;
        }
        f.write_str(")")?;
        self.result.map_or(Ok(()), |r| write!(f, " -> {}", r.name()))
    }
}

/// The shape of a host group: what an application declares and what the host registers must be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDecl {
    /// The group's name, unique among groups.
    pub name: String,
    /// Its capability bit, 8 to 31, unique among groups.
    pub bit: u8,
    /// Its functions.
    pub functions: Vec<FunctionDecl>,
}

impl GroupDecl {
    /// The capability that the group's functions need.
    #[must_use]
    pub const fn capability(&self) -> Capabilities {
        Capabilities::custom(self.bit)
    }

    /// Checks names, bit and signatures.
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg), naming what is wrong.
    pub fn validate(&self) -> Result<()> {
        let name = &self.name;
        if name.is_empty() || Capabilities::from_name(name).is_some() {
            return Err(Error::invalid(format!("`{name}` cannot name a HAL group: empty, or built in")));
        }
        if !(CUSTOM_BIT_MIN..32).contains(&self.bit) {
            return Err(Error::invalid(format!(
                "HAL group `{name}` has capability bit {}; host groups have bits {CUSTOM_BIT_MIN} to 31",
                self.bit
            )));
        }
        for (i, function) in self.functions.iter().enumerate() {
            let fname = &function.name;
            if fname.is_empty() || crate::engine::built_in_import(fname).is_some() {
                return Err(Error::invalid(format!(
                    "HAL group `{name}`: `{fname}` cannot name a function: empty, or built in"
                )));
            }
            if self.functions[..i].iter().any(|f| f.name == *fname) {
                return Err(Error::invalid(format!("HAL group `{name}` has two functions named `{fname}`")));
            }
            if function.params.len() > PARAMS_MAX {
                return Err(Error::invalid(format!(
                    "HAL group `{name}`: `{fname}` has {} parameters, at most {PARAMS_MAX} are possible",
                    function.params.len()
                )));
            }
        }
        Ok(())
    }
}

pub(crate) type HostCallback = Box<dyn FnMut(&mut HalCall<'_>) -> HalResult<Option<Value>> + Send>;

/// A function with its callback.
pub(crate) struct HostFunction {
    pub(crate) decl: FunctionDecl,
    pub(crate) callback: HostCallback,
}

/// A group of HAL functions with their callbacks, to be registered with
/// [`Runtime::register_group`](crate::Runtime::register_group) before a module that imports them is loaded.
///
/// ```
/// use fuse_edge::hal::{HalGroup, Param, Value, ValueType};
/// let downlink = HalGroup::new("downlink", 8).function(
///     "downlink_write",
///     &[Param::In],
///     Some(ValueType::I32),
///     |call| Ok(Some(Value::I32(call.buffer(0).len() as i32))),
/// );
/// # let _ = downlink;
/// ```
pub struct HalGroup {
    pub(crate) name: String,
    pub(crate) bit: u8,
    pub(crate) functions: Vec<HostFunction>,
}

impl HalGroup {
    /// An empty group with a name and a capability bit (8 to 31).
    #[must_use]
    pub fn new(name: &str, bit: u8) -> Self {
        Self { name: name.into(), bit, functions: Vec::new() }
    }

    /// Adds a function. The callback must return a value exactly when `result` is given, and of that type;
    /// otherwise the module that called it traps with code [`HAL_RESULT_MISMATCH`].
    #[must_use]
    pub fn function(
        mut self,
        name: &str,
        params: &[Param],
        result: Option<ValueType>,
        callback: impl FnMut(&mut HalCall<'_>) -> HalResult<Option<Value>> + Send + 'static,
    ) -> Self {
        let decl = FunctionDecl { name: name.into(), params: params.into(), result };
        self.functions.push(HostFunction { decl, callback: Box::new(callback) });
        self
    }

    /// The shape of the group.
    #[must_use]
    pub fn declaration(&self) -> GroupDecl {
        GroupDecl {
            name: self.name.clone(),
            bit: self.bit,
            functions: self.functions.iter().map(|f| f.decl.clone()).collect(),
        }
    }
}

/// The code of the trap when a callback returned another type than its signature says.
pub const HAL_RESULT_MISMATCH: i32 = i32::MIN;

impl fmt::Debug for HalGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.declaration().fmt(f)
    }
}

/// One argument as it arrived: a number, or a range of the module's memory that has been checked.
#[derive(Clone, Debug)]
pub(crate) enum Argument {
    Value(Value),
    Buffer(Range<usize>, Param),
}

/// One call of a host function, as its callback sees it. Parameters are counted from 0, a buffer as one.
pub struct HalCall<'a> {
    pub(crate) module: crate::ModuleId,
    pub(crate) memory: &'a mut [u8],
    pub(crate) arguments: &'a [Argument],
}

impl HalCall<'_> {
    /// The module that called.
    #[must_use]
    pub const fn module(&self) -> crate::ModuleId {
        self.module
    }

    /// The number at this parameter; `None` when there is none or it is a buffer.
    #[must_use]
    pub fn value(&self, param: usize) -> Option<Value> {
        match self.arguments.get(param)? {
            Argument::Value(v) => Some(*v),
            Argument::Buffer(..) => None,
        }
    }

    /// The number at this parameter as `i32`; 0 when it is something else.
    #[must_use]
    pub fn i32(&self, param: usize) -> i32 {
        match self.value(param) {
            Some(Value::I32(v)) => v,
            _ => 0,
        }
    }

    /// The number at this parameter as `i64`; 0 when it is something else.
    #[must_use]
    pub fn i64(&self, param: usize) -> i64 {
        match self.value(param) {
            Some(Value::I64(v)) => v,
            _ => 0,
        }
    }

    /// The bytes of an `in` or `inout` buffer; empty when the parameter is something else.
    #[must_use]
    pub fn buffer(&self, param: usize) -> &[u8] {
        match self.arguments.get(param) {
            Some(Argument::Buffer(range, Param::In | Param::InOut)) => {
                self.memory.get(range.clone()).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// The bytes of an `out` or `inout` buffer; empty when the parameter is something else.
    #[must_use]
    pub fn buffer_mut(&mut self, param: usize) -> &mut [u8] {
        match self.arguments.get(param) {
            Some(Argument::Buffer(range, Param::Out | Param::InOut)) => {
                self.memory.get_mut(range.clone()).unwrap_or_default()
            }
            _ => &mut [],
        }
    }
}

impl fmt::Debug for HalCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HalCall").field("module", &self.module).field("arguments", &self.arguments).finish()
    }
}
