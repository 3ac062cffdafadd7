/* camera_compress: takes the newest frame at each interval, encodes it without loss and hands
 * the packet to the host's downlink.
 *
 * Capabilities: TIMER, CAMERA, LOG, downlink (the group that the host of this example registers).
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
    int64_t began = timer_get_timestamp();
    int64_t bytes = camera_last_frame(frame, FRAME_BYTES);
    if (bytes == 0) {
        FUSE_LOG(FUSE_LOG_INFO, "camera_compress: no frame yet");
        return;
    }

    struct line line;
    line.len = 0;
    line_text(&line, "camera_compress: ");
    if (bytes != (int64_t)FRAME_BYTES) {
        line_text(&line, "frame of ");
        line_number(&line, (uint64_t)bytes);
        line_text(&line, " bytes, expected ");
        line_number(&line, FRAME_BYTES);
        line_log(&line, FUSE_LOG_FATAL);
        return;
    }
    uint32_t len = frame_rle_encode(frame, FRAME_WIDTH, FRAME_HEIGHT, packet);
    if (downlink_write(packet, len) != (int32_t)len) {
        FUSE_LOG(FUSE_LOG_FATAL, "camera_compress: the downlink did not take the whole packet");
        return;
    }
    line_number(&line, FRAME_BYTES);
    line_text(&line, " -> ");
    line_number(&line, len);
    line_text(&line, " bytes in ");
    line_number(&line, (uint64_t)(timer_get_timestamp() - began));
    line_text(&line, " us");
    line_log(&line, FUSE_LOG_INFO);
}
