/* check.h: what the test programs share. */
#ifndef CHECK_H
#define CHECK_H

#include <fuse.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define IS(wanted, call)                                                                           \
    do {                                                                                           \
        const fuse_status_t got_ = (call);                                                         \
        if (got_ != (wanted)) {                                                                    \
            fprintf(stderr, "%s:%d: %s is %s, not " #wanted "\n", __FILE__, __LINE__, #call, fuse_status_name(got_)); \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static const char EMPTY_MODULE[] = "(module (func (export \"module_step\")))";
static const char TEMP_MODULE[] = "(module (import \"env\" \"temp_get_reading\" (func $r (result f32)))"
                                  "(func (export \"module_step\") (drop (call $r))))";

static inline fuse_runtime_t *new_runtime(void) {
    fuse_runtime_t *runtime = NULL;
    char error[256];
    IS(FUSE_OK, fuse_runtime_new(NULL, NULL, &runtime, error, sizeof error));
    return runtime;
}

static inline fuse_module_id_t load(fuse_runtime_t *runtime, const char *name, const char *source, const fuse_policy_t *policy) {
    fuse_module_id_t id = 0;
    fuse_status_t status = fuse_runtime_load(runtime, name, (const uint8_t *)source, strlen(source), policy, &id);
    if (status != FUSE_OK) {
        char error[1040];
        fuse_last_error(runtime, error, sizeof error, NULL);
        fprintf(stderr, "load: %s\n", error);
        exit(1);
    }
    return id;
}

static inline fuse_module_id_t start(fuse_runtime_t *runtime, const char *name, const char *source, uint32_t capabilities) {
    fuse_policy_t policy = FUSE_POLICY_INIT;
    policy.capabilities = capabilities;
    fuse_module_id_t id = load(runtime, name, source, &policy);
    IS(FUSE_OK, fuse_runtime_start(runtime, id));
    return id;
}

#endif
