/* kernel.h: one computation, built as a module and natively, so that the two can be compared.
 *
 * A kernel file defines KERNEL_INIT (fills its input, deterministically, once) and KERNEL (one
 * iteration over that input, which returns a checksum of everything it computed):
 *
 *   KERNEL_INIT(sieve) { }
 *   KERNEL(sieve) { ...; return checksum; }
 *
 * As a module these become module_init and module_step (no imports, no capabilities), and
 * `kernel_checksum: () -> i32` exports the checksum of the last step. The same number also lies
 * in memory at the address in the exported global `kernel_result`, little-endian.
 * Natively they become `void kernel_sieve_init(void)` and `uint32_t kernel_sieve(void)`.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdint.h>

#ifdef __wasm__

#include <fuse_module.h>

#define KERNEL_INIT(name) FUSE_MODULE_INIT
#define KERNEL(name)                                                                             \
    __attribute__((visibility("default"), used)) uint32_t kernel_result;                         \
    static uint32_t kernel_iteration(void);                                                      \
    FUSE_MODULE_STEP { kernel_result = kernel_iteration(); }                                     \
    FUSE_MODULE_EXPORT(uint32_t, kernel_checksum, (void)) { return kernel_result; }              \
    static uint32_t kernel_iteration(void)

#else

#define KERNEL_INIT(name)                                                                        \
    void kernel_##name##_init(void);                                                             \
    void kernel_##name##_init(void)
#define KERNEL(name)                                                                             \
    uint32_t kernel_##name(void);                                                                \
    uint32_t kernel_##name(void)

#endif

/* Input: the same numbers everywhere. */
static inline uint32_t kernel_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

/* FNV-1a over words: the checksum of a kernel's output, cheap beside the kernel itself. */
#define KERNEL_HASH_START UINT32_C(0x811c9dc5)
static inline uint32_t kernel_hash(uint32_t hash, uint32_t word)
{
    return (hash ^ word) * UINT32_C(0x01000193);
}

static inline uint32_t kernel_hash_bytes(uint32_t hash, const uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i + 4 <= len; i += 4) {
        hash = kernel_hash(hash, (uint32_t)bytes[i] | (uint32_t)bytes[i + 1] << 8
                                     | (uint32_t)bytes[i + 2] << 16 | (uint32_t)bytes[i + 3] << 24);
    }
    return hash;
}

/* A picture of 8-bit grey: soft blobs on a dark ground with noise, like a night sky. */
static inline void kernel_picture(uint8_t *pixels, uint32_t width, uint32_t height)
{
    uint32_t state = 0x9e3779b9u;
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            uint32_t dx = (x % 160) > 80 ? (x % 160) - 80 : 80 - (x % 160);
            uint32_t dy = (y % 120) > 60 ? (y % 120) - 60 : 60 - (y % 120);
            uint32_t distance = dx * dx + dy * dy;
            uint32_t light = 12 + (distance < 900 ? (900 - distance) / 5 : 0);
            pixels[y * width + x] = (uint8_t)(light + (kernel_random(&state) & 15u));
        }
    }
}

#endif /* KERNEL_H */
