/* fuse_required_memory is right: with that much every call finds its memory, with a page less one says that it does not;
 * with anything less, down to nothing, each call ends in a status. Requirements ARENA-3 and FLIGHT-02.
 * usage: memory FOLDER */
#include "flight.h"

enum { MODULES = 5 };
static module_t modules[MODULES];
static int module_count;
static uint32_t spare;
static size_t arena_bytes;

static uint64_t required(const fuse_runtime_config_t *limits) {
    fuse_planned_module_t planned[MODULES];
    const fuse_planned_module_t *pointers[MODULES];
    fuse_memory_plan_t plan = FUSE_MEMORY_PLAN_INIT;
    uint64_t bytes = 0;
    for (int i = 0; i < module_count; i++) {
        fuse_planned_module_t one = FUSE_PLANNED_MODULE_INIT;
        one.artifact = modules[i].bytes;
        one.artifact_length = modules[i].length;
        one.policy = &modules[i].policy;
        planned[i] = one;
        pointers[i] = &planned[i];
    }
    plan.spare = spare;
    plan.config = limits;
    plan.modules = pointers;
    plan.module_count = (size_t)module_count;
    plan.group_count = 1;
    plan.function_count = 1;
    CHECK(fuse_required_memory(&plan, &bytes) == FUSE_OK);
    return bytes;
}

static void within_bounds(void) {
    fuse_arena_stats_t now = figures();
    CHECK(now.used <= now.reserved && now.reserved <= now.capacity && now.capacity < now.length);
}

/* The whole deployment in an arena of `arena_bytes`: 0 when it worked, 13 when there was no memory. */
static int deploy(void) {
    fuse_runtime_t *runtime;
    fuse_platform_t table = platform();
    fuse_runtime_config_t limits = config(MODULES);
    fuse_module_id_t ids[MODULES];
    char text[200];
    int loaded = 0;
    fuse_status_t status = give_arena(arena_bytes);
    if (status != FUSE_OK) return status;
    uint64_t first_blocks = figures().blocks;
    CHECK(first_blocks == 0);
    status = fuse_runtime_new(&limits, &table, &runtime, text, sizeof text);
    if (status != FUSE_OK) {
        CHECK(status == FUSE_ERR_OUT_OF_MEMORY && strstr(text, "out of memory"));
        return status;
    }
    within_bounds();
    status = register_downlink(runtime);
    for (; status == FUSE_OK && loaded < module_count; loaded++) {
        status = load(runtime, &modules[loaded], &ids[loaded]);
        if (status != FUSE_OK) break;
        within_bounds();
        CHECK(fuse_runtime_start(runtime, ids[loaded]) == FUSE_OK);
        within_bounds();
    }
    if (status != FUSE_OK) {
        CHECK(status == FUSE_ERR_OUT_OF_MEMORY);
        CHECK(fuse_last_error(runtime, text, sizeof text, NULL) == FUSE_OK && strstr(text, "out of memory"));
    }
    if (status == FUSE_OK && spare) {
        status = fuse_runtime_update(runtime, ids[0], modules[0].bytes, modules[0].length);
        CHECK(status == FUSE_OK || status == FUSE_ERR_OUT_OF_MEMORY);
        within_bounds();
    }
    /* Whatever did not fit, the rest works: a hundred ticks, a failure in each of them. */
    for (int i = 0; i < 100; i++) {
        size_t ran = 0, failed = 0;
        now_us += 1000;
        CHECK(fuse_runtime_tick(runtime, NULL, NULL, 0, &ran, &failed) == FUSE_OK);
        CHECK(ran >= (size_t)(loaded > 0));
        for (int m = 0; failed && m < loaded; m++) {
            if (strcmp(modules[m].name, "trap") == 0) {
                fuse_status_t again = fuse_runtime_restart_module(runtime, ids[m]);
                CHECK(again == FUSE_OK || (again == FUSE_ERR_OUT_OF_MEMORY && (!spare || status != FUSE_OK)));
            }
        }
        within_bounds();
    }
    for (int i = 0; i < loaded; i++) CHECK(fuse_runtime_unload(runtime, ids[i]) == FUSE_OK);
    CHECK(fuse_runtime_close(runtime) == FUSE_OK);
    CHECK(figures().reserved == 0);
    /* What the engine keeps for the process: two blocks, whatever happened. */
    CHECK(figures().blocks <= 2 && figures().used < 1024);
    return status;
}

static void exactly(const char *what) {
    fuse_runtime_config_t limits = config(MODULES);
    uint64_t bytes = required(&limits);
    arena_bytes = bytes;
    CHECK(in_child(deploy) == FUSE_OK);
    arena_bytes = bytes - PAGE;
    CHECK(in_child(deploy) == FUSE_ERR_OUT_OF_MEMORY);
    size_t runs = 0;
    for (size_t less = 2 * PAGE; less < bytes; less += 5 * PAGE, runs++) {
        arena_bytes = bytes - less;
        CHECK(in_child(deploy) == FUSE_ERR_OUT_OF_MEMORY);
    }
    printf("flight: %s: %llu bytes suffice, a page less does not, and %zu smaller arenas do not\n", what,
           (unsigned long long)bytes, runs);
}

static void refused(void) {
    uint64_t bytes = 7;
    fuse_planned_module_t one = FUSE_PLANNED_MODULE_INIT;
    const fuse_planned_module_t *pointers[1] = {&one}, *none[1] = {NULL};
    fuse_memory_plan_t plan = FUSE_MEMORY_PLAN_INIT;
    CHECK(fuse_required_memory(NULL, &bytes) == FUSE_ERR_INVALID_ARG);
    CHECK(fuse_required_memory(&plan, NULL) == FUSE_ERR_INVALID_ARG);
    CHECK(fuse_required_memory(&plan, &bytes) == FUSE_OK && bytes > 64 * 1024);
    plan.module_count = 1;
    CHECK(fuse_required_memory(&plan, &bytes) == FUSE_ERR_INVALID_ARG);
    plan.modules = none;
    CHECK(fuse_required_memory(&plan, &bytes) == FUSE_ERR_INVALID_ARG);
    plan.modules = pointers;
    CHECK(fuse_required_memory(&plan, &bytes) == FUSE_ERR_INVALID_ARG);
    one.artifact = (const uint8_t *)"not an artifact";
    one.artifact_length = 15;
    CHECK(fuse_required_memory(&plan, &bytes) == FUSE_ERR_INVALID_ARG);
    plan.struct_size = 3;
    CHECK(fuse_required_memory(&plan, &bytes) == FUSE_ERR_INVALID_ARG);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    refused();
    modules[0] = gauge(argv[1]);
    modules[1] = listener(argv[1]);
    modules[2] = module("trap", argv[1], "trap.fuse", policy(0, 0, 1000));
    module_count = 3;
    exactly("three modules");
    spare = 1;
    exactly("three modules and room for one more");
    spare = 0;
    /* Another class of stack size, so another engine; and a module of which the code is the smallest part. */
    modules[3] = module("wide", argv[1], "wide.fuse", policy(2, 0, 1000));
    modules[3].policy.stack_size = 20000;
    modules[4] = listener(argv[1]);
    modules[4].name = "second listener";
    module_count = 5;
    exactly("five modules on two engines");
    return 0;
}
