//! Frame sizes.
pub(crate) struct NativeFrames;
impl NativeFrames {
    pub(crate) fn read(_elf: &[u8], _n: usize) -> Result<Self, String> { Err("todo".into()) }
    pub(crate) fn function(&self, _f: u32) -> Option<u64> { None }
    pub(crate) fn entry(&self) -> u64 { 0 }
}
