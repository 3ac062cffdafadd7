/* kernels.h: the kernels as native functions (libkernels.a). Call NAME_init once, then NAME for
 * each iteration; it returns the checksum that the module of the same name leaves. */
#ifndef KERNELS_H
#define KERNELS_H

#include <stdint.h>

void kernel_rle_init(void);
uint32_t kernel_rle(void);
void kernel_sha256_init(void);
uint32_t kernel_sha256(void);
void kernel_crc32_init(void);
uint32_t kernel_crc32(void);
void kernel_matmul_init(void);
uint32_t kernel_matmul(void);
void kernel_sieve_init(void);
uint32_t kernel_sieve(void);
void kernel_heapsort_init(void);
uint32_t kernel_heapsort(void);
void kernel_blur_sobel_init(void);
uint32_t kernel_blur_sobel(void);

#endif /* KERNELS_H */
