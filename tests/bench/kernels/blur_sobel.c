/* A 640 x 480 picture: 3 x 3 blur (weights 1 2 1), then the Sobel gradient |gx| + |gy|, cut at
 * 255. */
#include "kernel.h"

enum { WIDTH = 640, HEIGHT = 480 };

static uint8_t picture[WIDTH * HEIGHT];
static uint8_t blurred[WIDTH * HEIGHT];
static uint8_t edges[WIDTH * HEIGHT];

KERNEL_INIT(blur_sobel) { kernel_picture(picture, WIDTH, HEIGHT); }

static void blur_row(const uint8_t *restrict above, const uint8_t *restrict here,
                     const uint8_t *restrict below, uint8_t *restrict out)
{
    for (uint32_t x = 1; x < WIDTH - 1; x++) {
        uint32_t sum = above[x - 1] + 2u * above[x] + above[x + 1] + 2u * here[x - 1] + 4u * here[x]
                       + 2u * here[x + 1] + below[x - 1] + 2u * below[x] + below[x + 1];
        out[x] = (uint8_t)(sum / 16);
    }
}

static void sobel_row(const uint8_t *restrict above, const uint8_t *restrict here,
                      const uint8_t *restrict below, uint8_t *restrict out)
{
    for (uint32_t x = 1; x < WIDTH - 1; x++) {
        int32_t gx = above[x + 1] + 2 * here[x + 1] + below[x + 1] - above[x - 1] - 2 * here[x - 1]
                     - below[x - 1];
        int32_t gy = below[x - 1] + 2 * below[x] + below[x + 1] - above[x - 1] - 2 * above[x]
                     - above[x + 1];
        int32_t strength = (gx < 0 ? -gx : gx) + (gy < 0 ? -gy : gy);
        out[x] = (uint8_t)(strength > 255 ? 255 : strength);
    }
}

KERNEL(blur_sobel)
{
    for (uint32_t y = 1; y < HEIGHT - 1; y++) {
        const uint8_t *here = picture + y * WIDTH;
        blur_row(here - WIDTH, here, here + WIDTH, blurred + y * WIDTH);
    }
    for (uint32_t y = 2; y < HEIGHT - 2; y++) {
        const uint8_t *here = blurred + y * WIDTH;
        sobel_row(here - WIDTH, here, here + WIDTH, edges + y * WIDTH);
    }
    return kernel_hash_bytes(KERNEL_HASH_START, edges, sizeof edges);
}
