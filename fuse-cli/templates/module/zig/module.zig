//! {{name}}: counts its steps and says when each of them ran.
//!
//! Capabilities: TIMER, LOG (app_config.json grants them).
const std = @import("std");
const fuse = @import("fuse.zig");

var steps: u32 = 0;

export fn module_init() void {
    fuse.log(.info, "{{name}}: ready");
}

export fn module_step() void {
    steps += 1;
    var text: [fuse.log_text_max]u8 = undefined;
    const values = .{ steps, fuse.timestampMicros() };
    fuse.log(.info, std.fmt.bufPrint(&text, "{{name}}: step {d} at {d} us", values) catch &text);
}
