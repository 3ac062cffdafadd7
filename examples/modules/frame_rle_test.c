/* frame_rle_test.c: native test of frame_rle.h.
 *   cc -std=c11 -O1 -fsanitize=address,undefined -o frame_rle_test frame_rle_test.c && ./frame_rle_test
 * Every image comes back as it was, no packet is larger than FRAME_RLE_BOUND says, and bytes that
 * are not a packet are refused without a step outside of them.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame_rle.h"

static uint32_t state = 0x2545f491u;

static uint32_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static void fail(const char *what, uint32_t kind, uint32_t width, uint32_t height)
{
    fprintf(stderr, "frame_rle_test: %s (kind %u, %u x %u)\n", what, kind, width, height);
    exit(1);
}

/* Images from flat to the noisiest, and noise whose width changes from group to group, which is
 * what the bound is about. */
static void paint(uint32_t kind, uint8_t *pixels, uint32_t count)
{
    uint32_t amplitude = 255;
    for (uint32_t i = 0; i < count; i++) {
        if (i % 8 == 0) {
            amplitude = kind == 3 ? (1u << (next_random() % 9)) - 1u : (i / 8 % 2 ? 127u : 255u);
        }
        switch (kind) {
        case 0: pixels[i] = 7; break;
        case 1: pixels[i] = (uint8_t)next_random(); break;
        case 2: pixels[i] = (uint8_t)(20 + next_random() % 16); break;
        case 3:
        case 4: pixels[i] = (uint8_t)(128 + (next_random() & amplitude) - amplitude / 2); break;
        case 5: pixels[i] = i % 2 ? 255 : 0; break;
        default: pixels[i] = (uint8_t)(i * 3); break;
        }
    }
}

static void round_trip(uint32_t kind, uint32_t width, uint32_t height)
{
    uint32_t count = width * height;
    uint8_t *pixels = calloc(1, count);
    uint8_t *packet = malloc(FRAME_RLE_BOUND(count));
    uint8_t *back = malloc(count);
    if (pixels == NULL || packet == NULL || back == NULL) {
        fail("out of memory", kind, width, height);
        return;
    }
    paint(kind, pixels, count);
    uint32_t len = frame_rle_encode(pixels, width, height, packet);
    if (len > FRAME_RLE_BOUND(count)) {
        fail("a packet above the bound", kind, width, height);
    }
    if (kind == 0 && len > FRAME_RLE_HEADER + 8 + count / 128 + 2) {
        fail("a flat image did not become one byte for 128 pixels", kind, width, height);
    }
    if (frame_rle_decode(packet, len, back, count) != (int64_t)count
        || memcmp(pixels, back, count) != 0) {
        fail("the image did not come back", kind, width, height);
    }
    if (frame_rle_decode(packet, len, back, count - 1) != -1) {
        fail("decoded into too small a buffer", kind, width, height);
    }
    for (uint32_t cut = 0; cut < len; cut += 1 + len / 64) {
        uint8_t *part = malloc(cut + 1);
        memcpy(part, packet, cut);
        if (frame_rle_decode(part, cut, back, count) != -1) {
            fail("a truncated packet was taken", kind, width, height);
        }
        free(part);
    }
    for (uint32_t flips = 0; flips < 64; flips++) {
        uint32_t at = next_random() % len;
        packet[at] ^= (uint8_t)(1u << (next_random() % 8));
        (void)frame_rle_decode(packet, len, back, count); /* any answer, no stray access */
    }
    free(pixels);
    free(packet);
    free(back);
}

int main(void)
{
    static const uint32_t sizes[][2] = {{1, 1}, {7, 1}, {1, 9}, {8, 1}, {13, 11}, {128, 2},
                                        {FRAME_WIDTH, FRAME_HEIGHT}, {640, 480}};
    uint32_t images = 0;
    for (uint32_t kind = 0; kind < 7; kind++) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++, images++) {
            round_trip(kind, sizes[s][0], sizes[s][1]);
        }
        for (uint32_t i = 0; i < 200; i++, images++) {
            round_trip(kind, 1 + next_random() % 90, 1 + next_random() % 40);
        }
    }
    printf("frame_rle_test: %u images came back byte for byte, none above the bound\n", images);
    return 0;
}
