//! Text on its way to C: what does not fit is cut at a character, and nothing is allocated.

use core::ffi::c_char;
use core::fmt::{self, Write};

/// Longest error text that a handle keeps, in bytes.
pub(crate) const ERROR_BYTES: usize = 1024;

/// Text of at most `N` bytes.
pub(crate) struct Text<const N: usize> {
    len: usize,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Self {
        Self { len: 0, bytes: [0; N] }
    }

    /// Replaces the text.
    pub(crate) fn set(&mut self, what: &dyn fmt::Display) {
        self.len = 0;
        // `write_str` below never fails; a `Display` that does leaves what it had written.
        let _ = write!(self, "{what}");
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = s.floor_char_boundary(N - self.len);
        let taken = &s.as_bytes()[..end];
        self.bytes[self.len..self.len + end].copy_from_slice(taken);
        self.len += end;
        Ok(())
    }
}

/// Where a function without a handle writes why it failed: a buffer of the caller, cut to fit, always with a zero
/// at its end.
#[derive(Clone, Copy)]
pub(crate) struct ErrorBuffer {
    start: *mut c_char,
    len: usize,
}

impl ErrorBuffer {
    /// # Safety
    /// `start` is null, or `len` bytes from it can be written for as long as this lives.
    pub(crate) unsafe fn new(start: *mut c_char, len: usize) -> Self {
        let this = Self { start, len };
        this.write(&"");
        this
    }

    pub(crate) fn write(self, what: &dyn fmt::Display) {
        if self.start.is_null() || self.len == 0 {
            return;
        }
        let mut text = Text::<ERROR_BYTES>::new();
        text.set(what);
        let whole = core::str::from_utf8(text.as_bytes()).unwrap_or_default();
        let cut = whole.floor_char_boundary(self.len - 1);
        // SAFETY: `cut < len`, and `len` bytes can be written.
        unsafe {
            self.start.copy_from_nonoverlapping(whole.as_ptr().cast(), cut);
            self.start.add(cut).write(0);
        }
    }
}

/// Copies text into an array of a struct, cut at a character, with zeros after it.
pub(crate) fn inline<const N: usize>(text: &str) -> [c_char; N] {
    let mut out = [0; N];
    let cut = text.floor_char_boundary(N - 1);
    for (to, from) in out.iter_mut().zip(&text.as_bytes()[..cut]) {
        *to = from.cast_signed() as c_char;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_at_a_character() {
        let mut text = Text::<4>::new();
        text.set(&"abcé");
        assert_eq!(text.as_bytes(), b"abc");
        text.set(&"é");
        assert_eq!(text.as_bytes(), "é".as_bytes());
        assert_eq!(inline::<3>("aé"), [b'a' as c_char, 0, 0]);
    }

    #[test]
    fn a_buffer_always_ends_with_a_zero() {
        let mut buffer = [1 as c_char; 4];
        // SAFETY: four bytes of an array.
        unsafe { ErrorBuffer::new(buffer.as_mut_ptr(), 4) }.write(&"abcdef");
        assert_eq!(buffer, [b'a' as c_char, b'b' as c_char, b'c' as c_char, 0]);
        // SAFETY: null and nothing.
        unsafe { ErrorBuffer::new(core::ptr::null_mut(), 7) }.write(&"abcdef");
        // SAFETY: no byte is written.
        unsafe { ErrorBuffer::new(buffer.as_mut_ptr(), 0) }.write(&"x");
        assert_eq!(buffer[0], b'a' as c_char);
    }
}
