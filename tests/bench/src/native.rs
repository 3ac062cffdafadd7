//! The kernels as native functions, and as the modules of the same source.
#![allow(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

// Each works on static buffers of its own.
unsafe extern "C" {
    fn kernel_rle_init();
    fn kernel_rle() -> u32;
    fn kernel_sha256_init();
    fn kernel_sha256() -> u32;
    fn kernel_crc32_init();
    fn kernel_crc32() -> u32;
    fn kernel_matmul_init();
    fn kernel_matmul() -> u32;
    fn kernel_sieve_init();
    fn kernel_sieve() -> u32;
    fn kernel_heapsort_init();
    fn kernel_heapsort() -> u32;
    fn kernel_blur_sobel_init();
    fn kernel_blur_sobel() -> u32;
}

/// One computation in its forms.
pub struct Kernel {
    /// Its name.
    pub name: &'static str,
    /// What it computes.
    pub what: &'static str,
    init: unsafe extern "C" fn(),
    run: unsafe extern "C" fn() -> u32,
    /// The module.
    pub wasm: &'static [u8],
    /// The module with vectors.
    pub simd: &'static [u8],
}

macro_rules! kernel {
    ($name:ident, $init:ident, $run:ident, $what:literal) => {
        Kernel {
            name: stringify!($name),
            what: $what,
            init: $init,
            run: $run,
            wasm: include_bytes!(concat!("../kernels/", stringify!($name), ".wasm")),
            simd: include_bytes!(concat!("../kernels/", stringify!($name), "_simd.wasm")),
        }
    };
}

/// The right to run native kernels. Their buffers are static, so only one thread has it.
pub struct Native {
    _only: MutexGuard<'static, ()>,
}

impl Native {
    /// Waits for the right.
    #[must_use]
    pub fn lock() -> Self {
        static ONLY: Mutex<()> = Mutex::new(());
        Self { _only: ONLY.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Fills a kernel's input.
    pub fn init(&mut self, kernel: &Kernel) {
        // SAFETY: a C function without parameters; nobody else runs one while `self` exists.
        unsafe { (kernel.init)() }
    }

    /// One iteration; gives the checksum of what it computed.
    #[inline]
    pub fn run(&mut self, kernel: &Kernel) -> u32 {
        // SAFETY: as in `init`.
        unsafe { (kernel.run)() }
    }
}

/// All kernels.
pub static KERNELS: [Kernel; 7] = [
    kernel!(rle, kernel_rle_init, kernel_rle, "RLE of a 640 × 480 frame"),
    kernel!(sha256, kernel_sha256_init, kernel_sha256, "SHA-256"),
    kernel!(crc32, kernel_crc32_init, kernel_crc32, "CRC-32"),
    kernel!(matmul, kernel_matmul_init, kernel_matmul, "matrix product, 128 × 128 doubles"),
    kernel!(sieve, kernel_sieve_init, kernel_sieve, "sieve of Eratosthenes to 2^20"),
    kernel!(heapsort, kernel_heapsort_init, kernel_heapsort, "heapsort"),
    kernel!(blur_sobel, kernel_blur_sobel_init, kernel_blur_sobel, "blur and Sobel, 640 × 480"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_recorded_ones() {
        for line in include_str!("../kernels/checksums.txt").lines() {
            let (name, checksum) = line.split_once(' ').unwrap();
            let kernel = KERNELS.iter().find(|k| k.name == name).unwrap();
            let mut native = Native::lock();
            native.init(kernel);
            assert_eq!(format!("{:08x}", native.run(kernel)), checksum, "{name}");
        }
    }
}
