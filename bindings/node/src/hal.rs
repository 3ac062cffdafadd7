//! Callbacks of the package as HAL callbacks.

use fuse_runtime::edge::hal::{HAL_RESULT_MISMATCH, HalCall, HalGroup, HalResult, Param, Value, ValueType};
use fuse_runtime::edge::{self, HalFault};
use napi::bindgen_prelude::{BigInt, Buffer, Either, Either3, Either4, FunctionRef, Null, Uint8ArraySlice};
use napi_derive::napi;

use crate::call::{call, fault};
use crate::fault::{OrThrow, Result, invalid};

/// Answers the temperature, or the code of a fault.
pub type TempFunction = FunctionRef<(), Either<f64, String>>;
/// Answers microseconds, or the code of a fault.
pub type TimerFunction = FunctionRef<(), Either<BigInt, String>>;
/// Gets the most bytes, answers the frame, or the code of a fault.
pub type CameraFunction = FunctionRef<u32, Either3<Uint8ArraySlice<'static>, Null, String>>;
/// One argument of a host function.
pub type Argument = Either3<f64, BigInt, Buffer>;
/// Gets the two halves of the calling module's id and the arguments; answers the result, or the code of a fault.
pub type HostFunction = FunctionRef<Vec<Argument>, Either4<f64, BigInt, Null, String>>;
/// Gets the number of a parameter, answers the buffer that the last call had there.
pub type BufferFunction = FunctionRef<u32, Either<Uint8ArraySlice<'static>, Null>>;

/// One function of a group, as the package declares it.
#[napi(object, object_to_js = false)]
pub struct NativeFunction {
    /// The import's name.
    pub name: String,
    /// `i32`, `i64`, `f32`, `f64`, `in`, `out`, `inout`.
    pub params: Vec<String>,
    /// `i32`, `i64`, `f32`, `f64`.
    pub result: Option<String>,
    /// The callback.
    #[napi(ts_type = "(args: Array<number | bigint | Buffer>) => number | bigint | null | string")]
    pub callback: HostFunction,
    /// What it wrote.
    #[napi(ts_type = "(param: number) => Uint8Array | null")]
    pub buffer: BufferFunction,
}

/// Sets the temperature sensor.
pub(crate) fn set_temp(rt: &mut edge::Runtime, function: TempFunction) {
    rt.set_temp(move || match call(&function, ())? {
        Either::A(celsius) => Ok(celsius as f32),
        Either::B(code) => fault(&code),
    });
}

/// Sets the clock of the modules.
pub(crate) fn set_timer(rt: &mut edge::Runtime, function: TimerFunction) {
    rt.set_timer(move || match call(&function, ())? {
        Either::A(us) => to_i64(&us),
        Either::B(code) => fault(&code),
    });
}

/// Sets the camera.
pub(crate) fn set_camera(rt: &mut edge::Runtime, function: CameraFunction) {
    rt.set_camera(move |target| {
        // A module's memory ends at 4 GiB.
        let most = u32::try_from(target.len()).unwrap_or(u32::MAX);
        match call(&function, most)? {
            Either3::A(frame) => {
                let fits = frame.len().min(target.len());
                target[..fits].copy_from_slice(&frame[..fits]);
                Ok(fits)
            }
            Either3::B(_) => Ok(0),
            Either3::C(code) => fault(&code),
        }
    });
}

fn to_i64(number: &BigInt) -> HalResult<i64> {
    match number.get_i64() {
        (value, true) => Ok(value),
        (_, false) => Err(HalFault { code: HAL_RESULT_MISMATCH }),
    }
}

/// Makes a group.
pub(crate) fn group(name: &str, bit: f64, functions: Vec<NativeFunction>) -> Result<HalGroup> {
    let whole = bit.fract() == 0.0 && (0.0..=255.0).contains(&bit);
    if !whole {
        return Err(invalid(format!(
            "HAL group `{name}` has capability bit {bit}; host groups have bits 8 to 31"
        )));
    }
    let mut built = HalGroup::new(name, bit as u8);
    for declared in functions {
        let params = declared
            .params
            .iter()
            .map(|p| {
                Param::from_name(p).ok_or_else(|| {
                    invalid(format!(
                        "`{}`: `{p}` is no parameter type; known are i32, i64, f32, f64, in, out and inout",
                        declared.name
                    ))
                })
            })
            .collect::<Result<Vec<Param>>>()?;
        let result = declared
            .result
            .as_deref()
            .map(|r| {
                ValueType::from_name(r).ok_or_else(|| {
                    invalid(format!(
                        "`{}`: `{r}` is no result type; known are i32, i64, f32 and f64",
                        declared.name
                    ))
                })
            })
            .transpose()?;
        let (shape, callback, buffer) = (params.clone(), declared.callback, declared.buffer);
        built = built.function(&declared.name, &params, result, move |at| {
            invoke(at, &shape, result, &callback, &buffer)
        });
    }
    built.declaration().validate().or_throw()?;
    Ok(built)
}

/// Calls a function of a group.
fn invoke(
    at: &mut HalCall<'_>,
    shape: &[Param],
    result: Option<ValueType>,
    callback: &HostFunction,
    buffer: &BufferFunction,
) -> HalResult<Option<Value>> {
    let id = at.module().to_u64();
    let mut arguments = Vec::with_capacity(shape.len() + 2);
    arguments.push(Either3::A(f64::from(id as u32)));
    arguments.push(Either3::A(f64::from((id >> 32) as u32)));
    for (index, param) in shape.iter().enumerate() {
        arguments.push(match param {
            Param::In => Either3::C(at.buffer(index).into()),
            Param::Out | Param::InOut => Either3::C((&*at.buffer_mut(index)).into()),
            Param::Value(_) => match at.value(index) {
                Some(Value::I32(v)) => Either3::A(f64::from(v)),
                Some(Value::I64(v)) => Either3::B(v.into()),
                Some(Value::F32(v)) => Either3::A(f64::from(v)),
                Some(Value::F64(v)) => Either3::A(v),
                None => return Err(HalFault { code: HAL_RESULT_MISMATCH }),
            },
        });
    }
    let answer = call(callback, arguments)?;
    if let Either4::D(code) = &answer {
        return fault(code);
    }
    for (index, param) in shape.iter().enumerate() {
        if matches!(param, Param::Out | Param::InOut) {
            // At most 16 parameters. Asked for again, since JavaScript may have taken the memory away.
            let written = match call(buffer, index as u32)? {
                Either::A(written) => written,
                Either::B(_) => return Err(HalFault { code: HAL_RESULT_MISMATCH }),
            };
            let target = at.buffer_mut(index);
            if written.len() != target.len() {
                return Err(HalFault { code: HAL_RESULT_MISMATCH });
            }
            target.copy_from_slice(&written);
        }
    }
    let mismatch = Err(HalFault { code: HAL_RESULT_MISMATCH });
    Ok(match (result, answer) {
        (None, Either4::C(_)) => None,
        // The package has checked the range.
        (Some(ValueType::I32), Either4::A(v)) => Some(Value::I32(v as i32)),
        (Some(ValueType::I64), Either4::B(v)) => Some(Value::I64(to_i64(&v)?)),
        (Some(ValueType::F32), Either4::A(v)) => Some(Value::F32(v as f32)),
        (Some(ValueType::F64), Either4::A(v)) => Some(Value::F64(v)),
        _ => return mismatch,
    })
}
