//! What a Fuse edge module may import, for modules written in Zig.
//!
//!     const fuse = @import("fuse");
//!     export fn module_step() void {
//!         fuse.log(.info, "hello");
//!     }
//!
//! Build: zig build-exe -target wasm32-freestanding -O ReleaseSmall -fstrip -fno-entry -rdynamic
//!        --stack 8192 --dep fuse -Mroot=hello.zig -Mfuse=fuse.zig -femit-bin=hello.wasm
//!
//! A module exports `module_step` (required: one unit of work), and may export `module_init`
//! (once, before the first step) and `module_deinit` (at unload); each is `fn () void` and runs
//! under the policy's quota and stack. There is no libc, no WASI and no thread. Each import
//! needs its capability in the module's policy: a call without it is a policy violation, which
//! ends the step and leaves the module Trapped. An import whose group the host does not enable
//! makes the module fail to load; Zig emits only the imports that are used.
//!
//! The guide is docs/modules.md.

/// The imports as they are. The functions below wrap them in slices and enums.
pub const raw = struct {
    pub extern "env" fn temp_get_reading() f32;
    pub extern "env" fn timer_get_timestamp() i64;
    pub extern "env" fn camera_last_frame(buffer: [*]u8, max_len: u32) i64;
    pub extern "env" fn module_log_event(text: [*]const u8, len: u32, level: u32) void;
    pub extern "env" fn fuse_event_post(event_id: u32) void;
};

/// Bits of a policy's `capabilities`, for reference: a module cannot read or change its policy.
/// Bits 8 to 31 belong to the HAL groups that a host registers.
pub const capability = struct {
    pub const temp_sensor: u32 = 1 << 0;
    pub const timer: u32 = 1 << 1;
    pub const camera: u32 = 1 << 2;
    pub const log: u32 = 1 << 3;
    pub const event_post: u32 = 1 << 4;
};

/// Severity of a log line. The runtime counts any other number as fatal.
pub const Level = enum(u32) { debug = 0, info = 1, fatal = 2 };

/// Bytes of a log line that are kept; the rest is cut.
pub const log_text_max = 127;

/// Temperature in degrees Celsius; 0 where the host registered no sensor.
/// Capability TEMP_SENSOR, group `temp`. Traps without the capability.
pub fn temperature() f32 {
    return raw.temp_get_reading();
}

/// Microseconds of a monotonic clock whose zero the host chose; 0 where the host registered no
/// clock. Capability TIMER, group `timer`. Traps without the capability.
pub fn timestampMicros() i64 {
    return raw.timer_get_timestamp();
}

/// Copies the raw bytes of the newest camera frame into `buffer` and returns the part that was
/// written: empty where there is no frame. A frame longer than `buffer` is cut.
/// Capability CAMERA, group `camera`. Traps without the capability, or if `buffer` is empty.
pub fn cameraLastFrame(buffer: []u8) []u8 {
    const written = raw.camera_last_frame(buffer.ptr, @intCast(buffer.len));
    return buffer[0..@intCast(written)];
}

/// Writes one line to the log: `log_text_max` bytes are kept, control bytes are escaped, an
/// empty text does nothing. Capability LOG. Traps without the capability.
pub fn log(level: Level, text: []const u8) void {
    raw.module_log_event(text.ptr, @intCast(text.len), @intFromEnum(level));
}

/// Posts event `id`: every module that subscribes to it becomes due. Ids are 0 to 31.
/// Capability EVENT_POST. Traps without the capability.
pub fn post(id: u5) void {
    raw.fuse_event_post(id);
}

// A function of the host's own HAL group is declared where it is used, with the types that the
// group was registered with (pointers and u32 are i32):
//
//     extern "env" fn downlink_write(bytes: [*]const u8, len: u32) i32;
