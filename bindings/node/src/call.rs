//! Calls from inside a step back to JavaScript, on the thread of JavaScript that made the step.

use std::cell::Cell;

use fuse_runtime::edge::HalFault;
use fuse_runtime::edge::hal::HalResult;
use napi::Env;
use napi::bindgen_prelude::{FromNapiValue, FunctionRef, JsValuesTupleIntoVec};

thread_local! {
    /// The environment whose call this thread is in.
    static ENV: Cell<Option<Env>> = const { Cell::new(None) };
}

/// The code of the fault when a callback threw, or when no JavaScript can run any more. The package names it `HAL_THROWN`.
pub(crate) const THROWN: i32 = i32::MIN + 1;

/// Keeps the environment for callbacks, until the drop.
pub(crate) struct Within(Option<Env>);

impl Within {
    pub(crate) fn new(env: Env) -> Self {
        Self(ENV.replace(Some(env)))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        ENV.set(self.0.take());
    }
}

/// The environment of the call that this thread is in.
pub(crate) fn env() -> HalResult<Env> {
    ENV.get().ok_or(HalFault { code: THROWN })
}

/// Calls a function of the package; that it throws cannot be, but would be a fault.
pub(crate) fn call<A: JsValuesTupleIntoVec, T: FromNapiValue>(
    function: &FunctionRef<A, T>,
    args: A,
) -> HalResult<T> {
    let env = env()?;
    let thrown = |_| HalFault { code: THROWN };
    function.borrow_back(&env).and_then(|function| function.call(args)).map_err(thrown)
}

/// The fault of a code in text.
pub(crate) fn fault<T>(code: &str) -> HalResult<T> {
    Err(HalFault { code: code.parse().unwrap_or(THROWN) })
}
