/* Every allocation fails once: of making a runtime, registering callbacks, loading, starting, stepping, failing, restarting,
 * updating, unloading and closing. Each run ends in statuses, with nothing left in the arena, or in the panic function;
 * docs/flight.md lists the latter. Requirements ARENA-5 and FLIGHT-02.
 * usage: oom FOLDER */
#include "flight.h"

static module_t modules[2], trap;
static uint64_t failing;
static const char *phase;

static void on_panic_in_phase(void *user, const char *text, size_t length) {
    (void)user;
    (void)text;
    (void)length;
    printf("panic in %s\n", phase);
    fflush(stdout);
    _exit(PANICKED);
}

static int known(fuse_status_t status) {
    /* The engine's own refusals come with a load; everything else is out of memory or not there. */
    return status == FUSE_OK || status == FUSE_ERR_OUT_OF_MEMORY || status == FUSE_ERR_LOAD_FAILED ||
           status == FUSE_ERR_TRAP || status == FUSE_ERR_NOT_FOUND || status == FUSE_ERR_WRONG_STATE ||
           status == FUSE_ERR_INVALID_ARG;
}

#define CALL(call)                       \
    do {                                 \
        phase = #call;                   \
        CHECK(known(status = fuse_##call)); \
        bad += status != FUSE_OK;        \
    } while (0)

/* A life from the first call to the last. How many calls failed. */
static int life(void) {
    fuse_runtime_t *runtime = NULL;
    fuse_poster_t *poster = NULL;
    fuse_platform_t table = platform();
    fuse_runtime_config_t limits = config(4);
    fuse_module_id_t ids[3] = {0, 0, 0};
    fuse_status_t status;
    int bad = 0;
    phase = "runtime_new";
    status = fuse_runtime_new(&limits, &table, &runtime, NULL, 0);
    CHECK(known(status));
    if (status != FUSE_OK) return 1;
    CALL(runtime_set_temp(runtime, temperature, NULL, NULL));
    CALL(runtime_set_camera(runtime, camera, NULL, NULL));
    phase = "runtime_register_group";
    CHECK(known(status = register_downlink(runtime)));
    bad += status != FUSE_OK;
    CALL(runtime_poster(runtime, &poster));
    for (int i = 0; i < 3; i++) {
        const module_t *m = i < 2 ? &modules[i] : &trap;
        phase = "runtime_load";
        CHECK(known(status = load(runtime, m, &ids[i])));
        bad += status != FUSE_OK;
        phase = "runtime_start";
        CHECK(known(status = fuse_runtime_start(runtime, ids[i])));
    }
    for (int i = 0; i < 3; i++) {
        size_t failed;
        now_us += 1000;
        phase = "runtime_tick";
        CHECK(fuse_runtime_tick(runtime, NULL, NULL, 0, NULL, &failed) == FUSE_OK);
    }
    phase = "runtime_restart_module";
    CHECK(known(fuse_runtime_restart_module(runtime, ids[2])));
    phase = "runtime_update";
    CHECK(known(fuse_runtime_update(runtime, ids[0], modules[0].bytes, modules[0].length)));
    for (int i = 0; i < 3; i++) {
        phase = "runtime_unload";
        CHECK(known(fuse_runtime_unload(runtime, ids[i])));
    }
    phase = "close";
    if (poster) CHECK(fuse_poster_close(poster) == FUSE_OK);
    CHECK(fuse_runtime_close(runtime) == FUSE_OK);
    return bad;
}

static int lose_one(void) {
    fuse_arena_t arena = FUSE_ARENA_INIT;
    static uint8_t memory[1 << 20] __attribute__((aligned(4096)));
    arena.memory = memory;
    arena.length = sizeof memory;
    arena.panic = on_panic_in_phase;
    CHECK(fuse_arena_give(&arena) == FUSE_OK);
    CHECK(life() == 0);
    fuse_arena_stats_t before = figures();
    fuse_arena_fail_allocation(failing);
    life();
    fuse_arena_fail_allocation(0);
    fuse_arena_stats_t after = figures();
    if (after.failures == before.failures) return 2; /* as many allocations there are not */
    if (after.blocks != before.blocks || after.used != before.used) {
        fprintf(stderr, "allocation %llu: %lld blocks, %lld bytes left\n", (unsigned long long)failing,
                (long long)(after.blocks - before.blocks), (long long)(after.used - before.used));
        return 1;
    }
    CHECK(after.reserved == 0);
    /* And all works again. */
    CHECK(life() == 0);
    return 0;
}

int main(int argc, char **argv) {
    unsigned statuses = 0, panics = 0;
    CHECK(argc == 2);
    modules[0] = gauge(argv[1]);
    modules[0].policy.capabilities = ALL_CAPS;
    modules[1] = listener(argv[1]);
    trap = module("trap", argv[1], "trap.fuse", policy(0, 0, 1000));
    for (failing = 1;; failing++) {
        int end = in_child(lose_one);
        if (end == 2) break;
        CHECK(end == 0 || end == PANICKED);
        statuses += end == 0;
        panics += end == PANICKED;
    }
    printf("flight: %u allocations failed, one by one: %u ended in a status with nothing left, %u in the panic function\n",
           statuses + panics, statuses, panics);
    return statuses == 0;
}
