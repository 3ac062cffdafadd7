/* frame_rle.h: the frames of the camera examples, and a lossless run-length code for them.
 *
 * A frame is FRAME_WIDTH x FRAME_HEIGHT pixels of 8-bit grey, row after row, without a header:
 * the raw bytes that camera_last_frame copies.
 *
 * Runs of equal pixels hardly exist in a photograph of the sky: its noise changes the lowest
 * bits of every pixel, and a plain (count, value) code makes such a frame larger. What does
 * come in runs is how *wide* that noise is. So a pixel is first predicted from its neighbours
 * (the median of left, above and left + above - above-left), the difference is folded to
 * 0, 1, 2, ... for 0, -1, +1, ..., differences are taken in groups of 8, and runs of groups
 * that need the same number of bits are coded together:
 *
 *   packet  := "FRL1" width:u16 height:u16 payload_len:u32 payload     (little-endian)
 *   payload := run*
 *   run     := control:u8 group{n}     control = w << 4 | (n - 1), 0 <= w <= 8, 1 <= n <= 16
 *   group   := w bytes: 8 differences of w bits, the first in the lowest bits
 *
 * A flat area costs one byte for 128 pixels; pure noise costs at most 1 byte in 128 more than
 * the pixels themselves (FRAME_RLE_BOUND). Pixels after the last whole group of 8 are coded as
 * if zero differences followed them.
 */
#ifndef FRAME_RLE_H
#define FRAME_RLE_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_WIDTH 320u
#define FRAME_HEIGHT 240u
#define FRAME_BYTES (FRAME_WIDTH * FRAME_HEIGHT)

#define FRAME_RLE_HEADER 12u
#define FRAME_RLE_GROUP 8u
#define FRAME_RLE_RUN 16u

/* Largest packet that a frame of `pixels` pixels can become, in bytes. */
#define FRAME_RLE_BOUND(pixels)                                                                  \
    (FRAME_RLE_HEADER + ((pixels) + 7u) / 8u * 8u + ((pixels) + 127u) / 128u + 1u)

static inline uint32_t frame_rle_predict(const uint8_t *pixels, uint32_t width, uint32_t x, uint32_t y)
{
    const uint8_t *here = pixels + (size_t)y * width + x;
    if (y == 0) {
        return x == 0 ? 0u : here[-1];
    }
    uint32_t above = *(here - width);
    if (x == 0) {
        return above;
    }
    uint32_t left = here[-1];
    uint32_t corner = *(here - width - 1);
    uint32_t low = left < above ? left : above;
    uint32_t high = left < above ? above : left;
    if (corner >= high) {
        return low;
    }
    return corner <= low ? high : left + above - corner;
}

static inline uint32_t frame_rle_fold(uint32_t difference)
{
    uint32_t d = difference & 0xffu;
    return d < 128u ? d << 1 : ((255u - d) << 1) | 1u;
}

static inline uint32_t frame_rle_unfold(uint32_t folded)
{
    return (folded & 1u) != 0 ? 255u - (folded >> 1) : folded >> 1;
}

/* Bits that the largest of a group's folded differences needs: 0 to 8. `any` is their OR. */
static inline uint32_t frame_rle_width(uint32_t any)
{
    return any == 0 ? 0u : 32u - (uint32_t)__builtin_clz(any);
}

/* Folds the differences of the 8 pixels from `at` on; returns the bits that they need. */
static inline uint32_t frame_rle_group(const uint8_t *pixels, uint32_t width, uint32_t count,
                                       uint32_t at, uint8_t *folded)
{
    uint32_t any = 0;
    uint32_t x = at % width;
    uint32_t y = at / width;
    for (uint32_t i = 0; i < FRAME_RLE_GROUP; i++) {
        uint32_t f = 0;
        if (at + i < count) {
            f = frame_rle_fold(pixels[at + i] - frame_rle_predict(pixels, width, x, y));
        }
        folded[i] = (uint8_t)f;
        any |= f;
        if (++x == width) {
            x = 0;
            y++;
        }
    }
    return frame_rle_width(any);
}

static inline void frame_rle_put32(uint8_t *out, uint32_t value)
{
    for (uint32_t i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline uint32_t frame_rle_get32(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

/* Encodes one frame into `out` (at least FRAME_RLE_BOUND(width * height) bytes).
 * Width and height are 1 to 65,535, and their product at most 2^28. Returns the packet's length
 * in bytes. */
static inline uint32_t frame_rle_encode(const uint8_t *pixels, uint32_t width, uint32_t height,
                                        uint8_t *out)
{
    uint32_t count = width * height;
    uint32_t groups = (count + FRAME_RLE_GROUP - 1) / FRAME_RLE_GROUP;
    uint32_t at = FRAME_RLE_HEADER;
    uint32_t control = 0;            /* where the current run's control byte lies */
    uint32_t run = FRAME_RLE_RUN;    /* groups in the current run: "full" starts a new one */
    uint32_t current = 0;            /* its width */
    uint8_t folded[FRAME_RLE_GROUP];
    uint8_t ahead[FRAME_RLE_GROUP];
    uint32_t next = frame_rle_group(pixels, width, count, 0, ahead);

    for (uint32_t g = 0; g < groups; g++) {
        uint32_t need = next;
        __builtin_memcpy(folded, ahead, FRAME_RLE_GROUP);
        next = g + 1 < groups
                   ? frame_rle_group(pixels, width, count, (g + 1) * FRAME_RLE_GROUP, ahead)
                   : 0u;
        /* One narrower group between two of the current width costs less inside their run than
         * the two control bytes around it: this also is what FRAME_RLE_BOUND rests on. */
        if (g > 0 && need + 1 == current && next >= current) {
            need = current;
        }
        if (run == FRAME_RLE_RUN || need != current) {
            control = at++;
            current = need;
            run = 0;
        }
        out[control] = (uint8_t)(current << 4 | run++);
        uint64_t bits = 0;
        for (uint32_t i = 0; i < FRAME_RLE_GROUP; i++) {
            bits |= (uint64_t)folded[i] << (i * current);
        }
        for (uint32_t i = 0; i < current; i++) {
            out[at++] = (uint8_t)(bits >> (8 * i));
        }
    }
    out[0] = 'F';
    out[1] = 'R';
    out[2] = 'L';
    out[3] = '1';
    frame_rle_put32(out + 4, width | height << 16);
    frame_rle_put32(out + 8, at - FRAME_RLE_HEADER);
    return at;
}

/* Decodes a packet of `len` bytes, whatever they are, into `pixels`, which has room for
 * `capacity` of them. Returns the number of pixels, or -1 if the packet is not one. */
static inline int64_t frame_rle_decode(const uint8_t *in, size_t len, uint8_t *pixels, size_t capacity)
{
    if (len < FRAME_RLE_HEADER || in[0] != 'F' || in[1] != 'R' || in[2] != 'L' || in[3] != '1') {
        return -1;
    }
    uint32_t width = frame_rle_get32(in + 4) & 0xffffu;
    uint64_t count = (uint64_t)width * (frame_rle_get32(in + 4) >> 16);
    if (count == 0 || count > capacity || frame_rle_get32(in + 8) != len - FRAME_RLE_HEADER) {
        return -1;
    }
    size_t at = FRAME_RLE_HEADER;
    uint64_t done = 0;
    while (done < count) {
        if (at == len) {
            return -1;
        }
        uint32_t bits_each = in[at] >> 4;
        uint32_t run = (in[at++] & 15u) + 1u;
        if (bits_each > 8 || (size_t)run * bits_each > len - at
            || (uint64_t)run * FRAME_RLE_GROUP > count - done + (FRAME_RLE_GROUP - 1)) {
            return -1;
        }
        for (; run > 0; run--) {
            uint64_t bits = 0;
            for (uint32_t i = 0; i < bits_each; i++) {
                bits |= (uint64_t)in[at++] << (8 * i);
            }
            for (uint32_t i = 0; i < FRAME_RLE_GROUP && done < count; i++, done++) {
                uint32_t folded = (uint32_t)(bits >> (i * bits_each)) & ((1u << bits_each) - 1u);
                uint32_t predicted = frame_rle_predict(pixels, width, (uint32_t)(done % width),
                                                       (uint32_t)(done / width));
                pixels[done] = (uint8_t)(predicted + frame_rle_unfold(folded));
            }
        }
    }
    return at == len ? (int64_t)count : -1;
}

#endif /* FRAME_RLE_H */
