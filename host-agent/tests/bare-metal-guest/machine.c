#include "machine.h"

static void out8(uint16_t port, uint8_t value) { __asm__ __volatile__("outb %0,%1" ::"a"(value), "Nd"(port)); }

void console(const char *text)
{
    while (*text)
        out8(0x3f8, (uint8_t)*text++);
}

/* The VMM's page tables map the first GiB. The devices are at 3 GiB (3.25 GiB before version 1.13): two large pages. */
#define BOOT_PDPT ((volatile uint64_t *)0xa000)
#define LARGE_PAGE 0x83u

static volatile uint64_t directory[512] __attribute__((aligned(4096)));

void machine_map_devices(void)
{
    directory[0] = 0xc0000000u | LARGE_PAGE;
    directory[128] = 0xd0000000u | LARGE_PAGE;
    BOOT_PDPT[3] = (uint64_t)directory | 3;
    uint64_t tables;
    __asm__ __volatile__("mov %%cr3,%0; mov %0,%%cr3" : "=r"(tables)::"memory");
}

void machine_reset(void)
{
    for (;;)
        out8(0x64, 0xfe);
}

void machine_crash(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) none = {0, 0};
    __asm__ __volatile__("lidt %0; ud2" ::"m"(none));
    for (;;) {
    }
}

void *memcpy(void *to, const void *from, size_t n)
{
    void *at = to;
    size_t words = n / 8, rest = n % 8;
    __asm__ __volatile__("rep movsq" : "+D"(at), "+S"(from), "+c"(words)::"memory");
    __asm__ __volatile__("rep movsb" : "+D"(at), "+S"(from), "+c"(rest)::"memory");
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    if ((uintptr_t)to <= (uintptr_t)from)
        return memcpy(to, from, n);
    uint8_t *t = to;
    const uint8_t *f = from;
    while (n--)
        t[n] = f[n];
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    void *at = to;
    __asm__ __volatile__("rep stosb" : "+D"(at), "+c"(n) : "a"(byte) : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

int same(const char *a, const char *b) { return strlen(a) == strlen(b) && memcmp(a, b, strlen(a)) == 0; }

uint32_t crc32(uint32_t crc, const void *bytes, size_t n)
{
    static uint32_t table[256];
    if (table[1] == 0)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int bit = 0; bit < 8; bit++)
                c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
            table[i] = c;
        }
    const uint8_t *p = bytes;
    crc = ~crc;
    while (n--)
        crc = table[(crc ^ *p++) & 255] ^ (crc >> 8);
    return ~crc;
}
