/* What a new user writes first. */
#include <fuse.h>

#include <stdio.h>
#include <string.h>

int main(void) {
    static const char source[] = "(module (func (export \"module_step\")))";
    fuse_runtime_t *runtime;
    fuse_module_id_t module;
    char error[256];
    size_t ran = 0;
    if (fuse_runtime_new(NULL, NULL, &runtime, error, sizeof error) != FUSE_OK) return fprintf(stderr, "%s\n", error), 1;
    if (fuse_runtime_load(runtime, "hello", (const uint8_t *)source, strlen(source), NULL, &module) != FUSE_OK) return 1;
    if (fuse_runtime_start(runtime, module) != FUSE_OK) return 1;
    if (fuse_runtime_tick(runtime, NULL, NULL, 0, &ran, NULL) != FUSE_OK) return 1;
    printf("fuse %s: %zu module ran\n", fuse_library_version(), ran);
    return fuse_runtime_close(runtime) == FUSE_OK && ran == 1 ? 0 : 1;
}
