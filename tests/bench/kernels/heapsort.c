/* Heapsort of 65,536 numbers. */
#include "kernel.h"

enum { COUNT = 65536 };

static uint32_t numbers[COUNT];

KERNEL_INIT(heapsort) {}

static void sift(uint32_t *heap, uint32_t root, uint32_t end)
{
    uint32_t value = heap[root];
    for (;;) {
        uint32_t child = 2 * root + 1;
        if (child >= end) {
            break;
        }
        if (child + 1 < end && heap[child] < heap[child + 1]) {
            child++;
        }
        if (heap[child] <= value) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = value;
}

KERNEL(heapsort)
{
    uint32_t random = 0xfeedfaceu;
    for (uint32_t i = 0; i < COUNT; i++) {
        numbers[i] = kernel_random(&random);
    }
    for (uint32_t root = COUNT / 2; root-- > 0;) {
        sift(numbers, root, COUNT);
    }
    for (uint32_t end = COUNT - 1; end > 0; end--) {
        uint32_t largest = numbers[0];
        numbers[0] = numbers[end];
        numbers[end] = largest;
        sift(numbers, 0, end);
    }
    uint32_t hash = KERNEL_HASH_START;
    for (uint32_t i = 0; i < COUNT; i++) {
        hash = kernel_hash(hash, numbers[i]);
    }
    return hash;
}
