/* checksums.c: prints each native kernel's checksum, to be compared with checksums.txt. */
#include <stdio.h>

#include "kernels.h"

static void print(const char *name, void (*init)(void), uint32_t (*run)(void))
{
    init();
    uint32_t first = run();
    uint32_t second = run();
    printf("%s %08x%s\n", name, first, first == second ? "" : " (changes between iterations)");
}

int main(void)
{
    print("blur_sobel", kernel_blur_sobel_init, kernel_blur_sobel);
    print("crc32", kernel_crc32_init, kernel_crc32);
    print("heapsort", kernel_heapsort_init, kernel_heapsort);
    print("matmul", kernel_matmul_init, kernel_matmul);
    print("rle", kernel_rle_init, kernel_rle);
    print("sha256", kernel_sha256_init, kernel_sha256);
    print("sieve", kernel_sieve_init, kernel_sieve);
    return 0;
}
