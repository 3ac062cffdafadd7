//! The kernel's random generator.
#![allow(unsafe_code)]

use std::{ffi::c_int, fs::File, io};

use rustix::ioctl::{NoArg, Opcode, Setter, ioctl, opcode};

/// Bytes that are given at once, at most.
pub(crate) const MOST: usize = 512;

/// `struct rand_pool_info` of `linux/random.h`, with room for [`MOST`] bytes.
#[repr(C)]
struct Pool {
    /// Bits of entropy in what follows.
    bits: c_int,
    bytes: c_int,
    content: [u8; MOST],
}

/// `RNDADDENTROPY`: the number is made with two integers, the array is not counted.
const ADD: Opcode = opcode::write::<[c_int; 2]>(b'R', 0x03);
/// `RNDRESEEDCRNG`.
const RESEED: Opcode = opcode::none(b'R', 0x07);

/// Gives the generator entropy and has it reseeded at once, so that no number after this can be told from one before.
pub(crate) fn add(entropy: &[u8]) -> io::Result<()> {
    let entropy = &entropy[..entropy.len().min(MOST)];
    let mut pool = Pool { bits: 0, bytes: 0, content: [0; MOST] };
    pool.content[..entropy.len()].copy_from_slice(entropy);
    // At most 512, so it fits.
    pool.bytes = entropy.len() as c_int;
    pool.bits = pool.bytes * 8;
    let device = File::options().write(true).open("/dev/urandom")?;
    // SAFETY: RNDADDENTROPY reads a `rand_pool_info` and as many bytes after it as it names; `Pool` has that layout
    // (`repr(C)`, two ints, then bytes), and `bytes` is at most the length of its array. The kernel keeps no pointer.
    unsafe { ioctl(&device, Setter::<ADD, Pool>::new(pool))? };
    // SAFETY: RNDRESEEDCRNG takes no argument and touches no memory of this process.
    unsafe { ioctl(&device, NoArg::<RESEED>::new())? };
    Ok(())
}
