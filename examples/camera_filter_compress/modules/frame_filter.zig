//! frame_filter in Zig: see frame_filter.c, which it matches line for line in the log.
const std = @import("std");
const fuse = @import("fuse");

/// 320 x 240 pixels of 8-bit grey.
const frame_bytes = 320 * 240;
/// As in app_config.json.
const data_captured = 1;
/// Grey levels squared.
const variance_min = 600;

var frame: [frame_bytes]u8 = undefined;
var seen: u32 = 0;
var kept: u32 = 0;

/// Variance in grey levels squared, rounded down. At most 2^24 pixels, at least one.
fn variance(pixels: []const u8) u64 {
    const len: u64 = pixels.len;
    var sum: u64 = 0;
    var squares: u64 = 0;
    for (pixels) |pixel| {
        sum += pixel;
        squares += @as(u64, pixel) * pixel;
    }
    return (len * squares - sum * sum) / (len * len);
}

fn logLine(comptime format: []const u8, values: anytype) void {
    var text: [fuse.log_text_max]u8 = undefined;
    fuse.log(.info, std.fmt.bufPrint(&text, format, values) catch &text);
}

export fn module_step() void {
    const pixels = fuse.cameraLastFrame(&frame);
    if (pixels.len == 0) {
        fuse.log(.info, "frame_filter: woken without a frame");
        return;
    }

    const found = variance(pixels);
    const keep = found >= variance_min;
    seen += 1;
    logLine("frame_filter: {s}, variance {d}", .{ if (keep) "keep" else "drop", found });

    if (keep) {
        kept += 1;
        fuse.post(data_captured);
    }
}

export fn module_deinit() void {
    logLine("frame_filter: kept {d} of {d}", .{ kept, seen });
}
