/* Primes below 2^20 with the sieve of Eratosthenes, a byte each. */
#include "kernel.h"

enum { LIMIT = 1 << 20 };

static uint8_t composite[LIMIT];

KERNEL_INIT(sieve) {}

KERNEL(sieve)
{
    for (uint32_t i = 0; i < LIMIT; i++) {
        composite[i] = 0;
    }
    for (uint32_t p = 2; p * p < LIMIT; p++) {
        if (composite[p] == 0) {
            for (uint32_t multiple = p * p; multiple < LIMIT; multiple += p) {
                composite[multiple] = 1;
            }
        }
    }
    uint32_t primes = 0;
    for (uint32_t i = 2; i < LIMIT; i++) {
        primes += composite[i] == 0;
    }
    return primes; /* 82,025 */
}
