//! One copy from any object with the buffer protocol into a module's memory.
//!
//! The stable ABI of Python 3.10 has no call that reads a buffer; it can make a `memoryview` of memory, and a
//! `memoryview` copies into another one. So this is the one file of the binding with unsafe code. `memoryview.tobytes` would
//! do without, and cost each frame a second copy; `PyBuffer`, which is safe, needs the ABI of 3.11.
#![allow(unsafe_code)]

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};
use pyo3::{PyTypeInfo, ffi};

/// `PyBUF_WRITE`: the view can be written to. Part of the stable ABI; PyO3 names it from 3.11 on.
const WRITE: std::ffi::c_int = 0x200;

/// Copies the bytes of `source` (bytes, bytearray, memoryview, a NumPy array, …) to the front of `target`, as many as fit.
/// Returns how many the source has.
///
/// # Errors
/// `TypeError` when the source has no buffer, `BufferError` when its bytes do not lie side by side.
pub(crate) fn copy(source: &Bound<'_, PyAny>, target: &mut [u8]) -> PyResult<usize> {
    if let Ok(bytes) = source.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        let fits = bytes.len().min(target.len());
        target[..fits].copy_from_slice(&bytes[..fits]);
        return Ok(bytes.len());
    }
    let py = source.py();
    // Code of the program may run here; below, none does.
    let view = PyMemoryView::type_object(py).call1((source,))?.call_method1("cast", ("B",))?;
    let len = view.len()?;
    let fits = len.min(target.len());
    if fits == 0 {
        return Ok(len);
    }
    let size = ffi::Py_ssize_t::try_from(fits).map_err(|_| PyMemoryError::new_err("longer than memory"))?;
    let part = view.get_item(PySlice::new(py, 0, size, 1))?;
    // SAFETY: `target` is writable memory of at least `fits` bytes, which outlives the view: the view is not handed to any
    // code of the program, and is released before this function returns.
    let into = unsafe {
        let view = ffi::PyMemoryView_FromMemory(target.as_mut_ptr().cast(), size, WRITE);
        Bound::from_owned_ptr_or_err(py, view)?
    };
    let into = into.call_method1("cast", ("B",)).and_then(|cast| {
        let copied = cast.set_item(PySlice::new(py, 0, size, 1), part);
        cast.call_method0("release").and(copied).map(|()| into)
    })?;
    into.call_method0("release")?;
    Ok(len)
}
