/* The machine: ports, the console, memory, power. No interrupts and no SSE: hosts whose KVM emulates the guest's
 * instructions one by one run this too. */
#ifndef MACHINE_H
#define MACHINE_H
#include <stddef.h>
#include <stdint.h>

#define BARRIER() __asm__ __volatile__("" ::: "memory")

void console(const char *text);
/* Maps the pages of the virtio-mmio devices, which the boot page tables leave out. */
void machine_map_devices(void);
/* Asks the VMM to end: a reset by the keyboard controller. */
void machine_reset(void) __attribute__((noreturn));
/* An exception with no handler for it, and none for that: the VMM sees a triple fault. */
void machine_crash(void) __attribute__((noreturn));

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int same(const char *a, const char *b);

/* CRC-32 (IEEE) of `n` bytes, going on from `crc` (0 to begin). */
uint32_t crc32(uint32_t crc, const void *bytes, size_t n);
#endif
