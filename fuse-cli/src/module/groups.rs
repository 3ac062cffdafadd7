//! Stand-ins for the HAL groups that a host registers: they take what modules write.

use fuse_edge::hal::{FunctionDecl, GroupDecl, HalCall, HalGroup, HalResult, Param, Value, ValueType};

/// What stands behind the functions of a group.
pub(crate) trait Taker: Send + 'static {
    /// Takes one call. The `in` buffers are what the module hands over.
    fn take(&mut self, function: &FunctionDecl, call: &HalCall<'_>) -> HalResult<()>;
}

/// The functions of a group that hand anything to the module but a number: nobody here knows what to say.
pub(crate) fn unanswerable(group: &GroupDecl) -> Vec<&FunctionDecl> {
    group
        .functions
        .iter()
        .filter(|f| f.params.iter().any(|p| matches!(p, Param::Out | Param::InOut)))
        .collect()
}

/// A group of this shape whose functions all go to `taker`. A function with a result answers how many bytes its
/// buffers had, which is what a write function answers that took everything.
pub(crate) fn stand_in<T: Taker + Clone>(decl: &GroupDecl, taker: &T) -> HalGroup {
    decl.functions.iter().fold(HalGroup::new(&decl.name, decl.bit), |group, function| {
        let (mut taker, decl) = (taker.clone(), function.clone());
        group.function(&function.name, &function.params, function.result, move |call| {
            taker.take(&decl, call)?;
            Ok(decl.result.map(|ty| count(ty, buffers(&decl, call).map(<[u8]>::len).sum())))
        })
    })
}

/// The `in` buffers of a call, in order.
pub(crate) fn buffers<'a>(
    function: &'a FunctionDecl,
    call: &'a HalCall<'_>,
) -> impl Iterator<Item = &'a [u8]> {
    let taken = |(i, param): (usize, &Param)| matches!(param, Param::In | Param::InOut).then_some(i);
    function.params.iter().enumerate().filter_map(taken).map(|i| call.buffer(i))
}

fn count(ty: ValueType, bytes: usize) -> Value {
    match ty {
        ValueType::I32 => Value::I32(i32::try_from(bytes).unwrap_or(i32::MAX)),
        ValueType::I64 => Value::I64(i64::try_from(bytes).unwrap_or(i64::MAX)),
        ValueType::F32 => Value::F32(bytes as f32),
        ValueType::F64 => Value::F64(bytes as f64),
    }
}

/// Takes everything and keeps nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nowhere;

impl Taker for Nowhere {
    fn take(&mut self, _: &FunctionDecl, _: &HalCall<'_>) -> HalResult<()> {
        Ok(())
    }
}
