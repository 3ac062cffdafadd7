/* Rule 2: structs of older and of newer programs. */
#include "check.h"

/* A struct of a newer program: known fields, and more. */
struct newer_policy {
    fuse_policy_t known;
    uint64_t more[4];
};

static void structs_that_come_in(fuse_runtime_t *runtime) {
    struct newer_policy newer;
    fuse_policy_t policy = FUSE_POLICY_INIT;
    fuse_module_id_t id = 0;
    const uint32_t bad[] = {0, 3, 4, sizeof policy - 1, 5000, UINT32_MAX};
    char text[1040];
    const uint8_t *source = (const uint8_t *)EMPTY_MODULE;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        policy.struct_size = bad[i];
        IS(FUSE_ERR_INVALID_ARG, fuse_runtime_load(runtime, "bad", source, strlen(EMPTY_MODULE), &policy, &id));
        IS(FUSE_OK, fuse_last_error(runtime, text, sizeof text, NULL));
        CHECK(strstr(text, "fuse_policy_t"));
    }
    memset(&newer, 0, sizeof newer);
    newer.known = (fuse_policy_t)FUSE_POLICY_INIT;
    newer.known.struct_size = sizeof newer;
    IS(FUSE_OK, fuse_runtime_load(runtime, "zero tail", source, strlen(EMPTY_MODULE), &newer.known, &id));
    newer.more[3] = 1;
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_load(runtime, "tail", source, strlen(EMPTY_MODULE), &newer.known, &id));
    fuse_last_error(runtime, text, sizeof text, NULL);
    CHECK(strstr(text, "newer libfuse"));
}

static void structs_that_go_out(fuse_runtime_t *runtime) {
    struct {
        fuse_module_info_t known;
        uint8_t more[64];
    } newer;
    fuse_module_info_t info = FUSE_MODULE_INFO_INIT;
    fuse_module_id_t id = load(runtime, "out", EMPTY_MODULE, NULL);

    memset(&newer, 0xaa, sizeof newer);
    newer.known.struct_size = sizeof newer;
    IS(FUSE_OK, fuse_runtime_module_info(runtime, id, &newer.known));
    CHECK(newer.known.struct_size == sizeof newer);
    CHECK(strcmp(newer.known.name, "out") == 0);
    for (size_t i = 0; i < sizeof newer.more; i++) CHECK(newer.more[i] == 0);

    info.struct_size = sizeof info - 8;
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_module_info(runtime, id, &info));
    /* A failed call writes nothing. */
    CHECK(info.id == 0);
}

static void buffers(fuse_runtime_t *runtime) {
    fuse_policy_t policy = FUSE_POLICY_INIT;
    uint8_t bytes[FUSE_POLICY_BYTES];
    fuse_module_id_t ids[8];
    char text[1040];
    size_t needed = 0;
    IS(FUSE_ERR_BUFFER_TOO_SMALL, fuse_policy_to_bytes(&policy, bytes, 31, &needed));
    CHECK(needed == 32);
    IS(FUSE_OK, fuse_policy_to_bytes(&policy, bytes, 32, &needed));
    IS(FUSE_ERR_BUFFER_TOO_SMALL, fuse_runtime_modules(runtime, ids, 1, &needed));
    CHECK(needed == 2);
    IS(FUSE_OK, fuse_runtime_modules(runtime, ids, 8, &needed));
    IS(FUSE_ERR_NOT_FOUND, fuse_runtime_find(runtime, "nobody", ids));
    IS(FUSE_ERR_BUFFER_TOO_SMALL, fuse_last_error(runtime, text, 4, &needed));
    CHECK(needed > 20 && needed < sizeof text);
    IS(FUSE_OK, fuse_last_error(runtime, text, needed, NULL));
    CHECK(strlen(text) == needed - 1 && strstr(text, "nobody"));
    /* The text of a function without a handle is cut, with a zero at its end. */
    IS(FUSE_ERR_INVALID_ARG, fuse_policy_from_bytes(bytes, 31, &policy, text, 8));
    CHECK(strlen(text) == 7);
}

int main(void) {
    fuse_runtime_t *runtime = new_runtime();
    structs_that_come_in(runtime);
    structs_that_go_out(runtime);
    buffers(runtime);
    IS(FUSE_OK, fuse_runtime_close(runtime));
    return 0;
}
