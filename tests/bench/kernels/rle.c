/* Lossless run-length code of one 640 x 480 frame: the code of the camera examples. */
#include "kernel.h"

#include "frame_rle.h"

enum { WIDTH = 640, HEIGHT = 480 };

static uint8_t frame[WIDTH * HEIGHT];
static uint8_t packet[FRAME_RLE_BOUND(WIDTH * HEIGHT)];

KERNEL_INIT(rle) { kernel_picture(frame, WIDTH, HEIGHT); }

KERNEL(rle)
{
    uint32_t len = frame_rle_encode(frame, WIDTH, HEIGHT, packet);
    return kernel_hash(kernel_hash_bytes(KERNEL_HASH_START, packet, len), len);
}
