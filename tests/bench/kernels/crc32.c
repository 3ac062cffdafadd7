/* CRC-32 (ISO-HDLC, as in zip and Ethernet) of 256 KiB, one table, a byte at a time. The checksum
 * is the CRC. */
#include "kernel.h"

enum { LENGTH = 256 * 1024 };

static uint8_t input[LENGTH];
static uint32_t table[256];

KERNEL_INIT(crc32)
{
    uint32_t random = 0x5ca1ab1eu;
    for (uint32_t i = 0; i < LENGTH; i++) {
        input[i] = (uint8_t)kernel_random(&random);
    }
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (uint32_t bit = 0; bit < 8; bit++) {
            c = (c & 1u) != 0 ? c >> 1 ^ 0xedb88320u : c >> 1;
        }
        table[i] = c;
    }
}

KERNEL(crc32)
{
    uint32_t crc = 0xffffffffu;
    for (uint32_t i = 0; i < LENGTH; i++) {
        crc = table[(crc ^ input[i]) & 0xffu] ^ crc >> 8;
    }
    return ~crc;
}
