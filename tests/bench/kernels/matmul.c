/* Product of two 128 x 128 matrices of doubles. The order of the additions is fixed, so that the
 * result is the same to the last bit with and without vectors. */
#include "kernel.h"

enum { N = 128 };

static double a[N][N];
static double b[N][N];
static double product[N][N];

KERNEL_INIT(matmul)
{
    uint32_t random = 0x0ddba11u;
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t j = 0; j < N; j++) {
            a[i][j] = (double)(int32_t)kernel_random(&random) / 65536.0;
            b[i][j] = (double)(int32_t)kernel_random(&random) / 65536.0;
        }
    }
}

KERNEL(matmul)
{
    for (uint32_t i = 0; i < N; i++) {
        double row[N] = {0};
        for (uint32_t k = 0; k < N; k++) {
            double factor = a[i][k];
            for (uint32_t j = 0; j < N; j++) {
                row[j] += factor * b[k][j];
            }
        }
        __builtin_memcpy(product[i], row, sizeof row);
    }
    return kernel_hash_bytes(KERNEL_HASH_START, (const uint8_t *)product, sizeof product);
}
