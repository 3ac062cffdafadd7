/* frame_filter: wakes on CAMERA_FRAME_READY, computes the variance of the newest frame and
 * posts DATA_CAPTURED when the frame is worth keeping.
 *
 * The same module in C++, Rust and Zig lies beside this file: the host cannot tell them apart.
 *
 * Capabilities: CAMERA, LOG, EVENT_POST. Subscribes to: CAMERA_FRAME_READY.
 */
#include <fuse_module.h>

#include "frame_rle.h"
#include "text.h"

#define DATA_CAPTURED 1u /* as in app_config.json */

/* Empty sky with its noise and faint objects stays below this; a bright galaxy or star lifts a
 * frame above it. Unit: grey levels squared. */
#define VARIANCE_MIN 600u

static uint8_t frame[FRAME_BYTES];
static uint32_t seen;
static uint32_t kept;

/* Variance in grey levels squared, rounded down. `len` is 1 to 2^24, so that
 * len * (sum of squares) stays below 2^64. */
static uint64_t variance(const uint8_t *pixels, uint32_t len)
{
    uint64_t sum = 0;
    uint64_t squares = 0;
    for (uint32_t i = 0; i < len; i++) {
        uint32_t pixel = pixels[i];
        sum += pixel;
        squares += pixel * pixel;
    }
    return (len * squares - sum * sum) / ((uint64_t)len * len);
}

FUSE_MODULE_STEP
{
    int64_t bytes = camera_last_frame(frame, FRAME_BYTES);
    if (bytes == 0) {
        FUSE_LOG(FUSE_LOG_INFO, "frame_filter: woken without a frame");
        return;
    }

    uint64_t found = variance(frame, (uint32_t)bytes);
    int keep = found >= VARIANCE_MIN;
    seen++;

    struct line line;
    line.len = 0;
    line_text(&line, "frame_filter: ");
    line_text(&line, keep ? "keep, variance " : "drop, variance ");
    line_number(&line, found);
    line_log(&line, FUSE_LOG_INFO);

    if (keep) {
        kept++;
        fuse_event_post(DATA_CAPTURED);
    }
}

FUSE_MODULE_DEINIT
{
    struct line line;
    line.len = 0;
    line_text(&line, "frame_filter: kept ");
    line_number(&line, kept);
    line_text(&line, " of ");
    line_number(&line, seen);
    line_log(&line, FUSE_LOG_INFO);
}
