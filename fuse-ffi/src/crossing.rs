//! What comes in as pointers, and goes out through pointers. Nothing here trusts alignment or sizes.

use core::ffi::{CStr, c_char};
use core::{ptr, slice};

use crate::handle::Refusal;

/// Larger than any struct will be: a size above this is nonsense and not the future.
const STRUCT_BYTES_LIMIT: u32 = 4096;
/// Longest name, path or address that is looked at, in bytes.
const STRING_BYTES_LIMIT: usize = 4096;

/// A struct of the header.
///
/// # Safety
/// `repr(C)`; any bytes are a valid value, zeros among them; the first field is `struct_size: u32`.
pub(crate) unsafe trait Crossing: Copy {
    /// Size of the first version of the struct. What is shorter is refused.
    const FIRST_SIZE: usize;
    /// Its name, for messages.
    const NAME: &'static str;
}

fn check_size<T: Crossing>(size: u32) -> Result<usize, Refusal> {
    if (size as usize) < T::FIRST_SIZE || size > STRUCT_BYTES_LIMIT {
        return Err(Refusal::StructSize { name: T::NAME, size, first: T::FIRST_SIZE });
    }
    Ok(size as usize)
}

/// Reads a struct of the caller, whatever version it was compiled with: what it does not have is zero, and what this
/// library does not know must be zero.
///
/// # Safety
/// `from` is null, or points to a struct as long as its first field says.
pub(crate) unsafe fn read<T: Crossing>(from: *const T) -> Result<T, Refusal> {
    if from.is_null() {
        return Err(Refusal::Null { what: T::NAME });
    }
    // SAFETY: not null, so at least its first field is there.
    let size = check_size::<T>(unsafe { from.cast::<u32>().read_unaligned() })?;
    let known = size.min(size_of::<T>());
    // SAFETY: `size` bytes are there.
    let rest = unsafe { slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Refusal::StructTail { name: T::NAME, known });
    }
    // SAFETY: `Crossing` says that zeros are a value, and any bytes; as many as both have are copied.
    unsafe {
        let mut value = core::mem::zeroed::<T>();
        ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast::<u8>(), known);
        Ok(value)
    }
}

/// A struct of the caller that is to be filled.
pub(crate) struct Out<T> {
    to: *mut T,
    size: usize,
}

impl<T: Crossing> Out<T> {
    /// # Safety
    /// `to` is null, or points to a struct as long as its first field says, which can be written until this is gone.
    pub(crate) unsafe fn new(to: *mut T) -> Result<Self, Refusal> {
        if to.is_null() {
            return Err(Refusal::Null { what: T::NAME });
        }
        // SAFETY: not null, so at least its first field is there.
        let size = check_size::<T>(unsafe { to.cast::<u32>().read_unaligned() })?;
        Ok(Self { to, size })
    }

    /// Fills it: as many fields as it has, zeros in those that this library does not know. Its size stays.
    pub(crate) fn fill(self, value: &T) {
        let head = size_of::<u32>();
        let known = self.size.min(size_of::<T>());
        // SAFETY: `size` bytes can be written, `known` bytes of the value read; `T::FIRST_SIZE` is at least `head`.
        unsafe {
            let to = self.to.cast::<u8>();
            ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>().add(head), to.add(head), known - head);
            ptr::write_bytes(to.add(known), 0, self.size - known);
        }
    }
}

/// A place for one number or pointer.
pub(crate) struct Place<T>(*mut T);

impl<T: Copy> Place<T> {
    /// # Safety
    /// `to` is null, or can be written until this is gone.
    pub(crate) unsafe fn new(to: *mut T, what: &'static str) -> Result<Self, Refusal> {
        if to.is_null() { Err(Refusal::Null { what }) } else { Ok(Self(to)) }
    }

    /// One that may be null, and then takes nothing.
    ///
    /// # Safety
    /// As [`new`](Self::new).
    pub(crate) const unsafe fn optional(to: *mut T) -> Self {
        Self(to)
    }

    #[cfg(feature = "full")]
    pub(crate) const fn is_null(&self) -> bool {
        self.0.is_null()
    }

    pub(crate) fn put(&self, value: T) {
        if !self.0.is_null() {
            // SAFETY: not null, so it can be written.
            unsafe { self.0.write_unaligned(value) };
        }
    }
}

/// The bytes of a buffer. Null is an empty one when the length is 0.
///
/// # Safety
/// `start` is null, or `len` bytes from it can be read, and are not changed, for `'a`.
pub(crate) unsafe fn bytes<'a>(
    start: *const u8,
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], Refusal> {
    match (start.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Refusal::Null { what }),
        (false, len) if len > isize::MAX as usize => {
            Err(Refusal::TooLong { what, limit: isize::MAX as usize })
        }
        // SAFETY: the caller's.
        (false, len) => Ok(unsafe { slice::from_raw_parts(start, len) }),
    }
}

/// Text with a length, such as JSON.
///
/// # Safety
/// As [`bytes`].
#[cfg_attr(not(feature = "full"), allow(dead_code))]
pub(crate) unsafe fn text<'a>(
    start: *const c_char,
    len: usize,
    what: &'static str,
) -> Result<&'a str, Refusal> {
    // SAFETY: the caller's.
    let bytes = unsafe { bytes(start.cast(), len, what) }?;
    core::str::from_utf8(bytes).map_err(|_| Refusal::NotUtf8 { what })
}

/// Text that ends with a zero, such as a name.
///
/// # Safety
/// `start` is null, or ends with a zero, and does not change for `'a`.
pub(crate) unsafe fn string<'a>(start: *const c_char, what: &'static str) -> Result<&'a str, Refusal> {
    if start.is_null() {
        return Err(Refusal::Null { what });
    }
    // SAFETY: there is a zero at the end; what is before the first zero is read, and no further.
    let bytes = unsafe { CStr::from_ptr(start) };
    if bytes.count_bytes() > STRING_BYTES_LIMIT {
        return Err(Refusal::TooLong { what, limit: STRING_BYTES_LIMIT });
    }
    bytes.to_str().map_err(|_| Refusal::NotUtf8 { what })
}

/// Copies bytes into a buffer of the caller and says how many there are; with `end`, a zero follows them.
///
/// # Safety
/// `to` is null, or `capacity` bytes from it can be written; `needed` is null or can be written.
pub(crate) unsafe fn copy_out(
    from: &[u8],
    to: *mut u8,
    capacity: usize,
    needed: *mut usize,
    end: bool,
) -> Result<(), Refusal> {
    let need = from.len() + usize::from(end);
    // SAFETY: the caller's.
    unsafe { Place::optional(needed) }.put(need);
    if capacity < need || (to.is_null() && need > 0) {
        return Err(Refusal::TooSmall { have: if to.is_null() { 0 } else { capacity }, need });
    }
    if need > 0 {
        // SAFETY: `need` bytes can be written; the caller's buffer is not what the library reads from.
        unsafe {
            ptr::copy(from.as_ptr(), to, from.len());
            if end {
                to.add(from.len()).write(0);
            }
        }
    }
    Ok(())
}
