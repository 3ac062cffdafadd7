/* frame_compress: wakes on DATA_CAPTURED, encodes the newest frame without loss and hands the
 * packet to the host's downlink. It runs in the tick in which frame_filter posted the event, so
 * the newest frame is the one that was judged.
 *
 * Capabilities: CAMERA, LOG, downlink (the group that the host of this example registers).
 * Subscribes to: DATA_CAPTURED.
 */
#include <fuse_module.h>

#include "frame_rle.h"
#include "text.h"

/* Takes `len` bytes for the downlink. Returns how many it accepted. */
FUSE_HAL_IMPORT(int32_t, downlink_write, (const void *bytes, uint32_t len));

static uint8_t frame[FRAME_BYTES];
static uint8_t packet[FRAME_RLE_BOUND(FRAME_BYTES)];

FUSE_MODULE_STEP
{
    int64_t bytes = camera_last_frame(frame, FRAME_BYTES);
    if (bytes != (int64_t)FRAME_BYTES) {
        FUSE_LOG(FUSE_LOG_FATAL, "frame_compress: not a whole frame");
        return;
    }
    uint32_t len = frame_rle_encode(frame, FRAME_WIDTH, FRAME_HEIGHT, packet);
    if (downlink_write(packet, len) != (int32_t)len) {
        FUSE_LOG(FUSE_LOG_FATAL, "frame_compress: the downlink did not take the whole packet");
        return;
    }

    struct line line;
    line.len = 0;
    line_text(&line, "frame_compress: ");
    line_number(&line, FRAME_BYTES);
    line_text(&line, " -> ");
    line_number(&line, len);
    line_text(&line, " bytes");
    line_log(&line, FUSE_LOG_INFO);
}
