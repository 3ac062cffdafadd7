/* What a host can do wrong with the arena. Requirements ARENA-1, ARENA-2.
 * usage: misuse */
#include "flight.h"

#include <signal.h>

static int before_the_arena(void) {
    fuse_runtime_t *runtime;
    fuse_app_t *app;
    fuse_platform_t table = platform();
    char text[100];
    CHECK(fuse_runtime_new(NULL, &table, &runtime, text, sizeof text) == FUSE_ERR_OUT_OF_MEMORY);
    CHECK(strstr(text, "fuse_arena_give"));
    CHECK(fuse_app_from_binary((const uint8_t *)"x", 1, &app, NULL, 0) == FUSE_ERR_OUT_OF_MEMORY);
    CHECK(figures().length == 0);
    return 0;
}

static int bad_arenas(void) {
    static uint8_t memory[64 * 1024];
    fuse_arena_t arena = FUSE_ARENA_INIT;
    CHECK(fuse_arena_give(NULL) == FUSE_ERR_INVALID_ARG);
    CHECK(fuse_arena_give(&arena) == FUSE_ERR_INVALID_ARG);
    arena.memory = memory;
    arena.length = sizeof memory;
    CHECK(fuse_arena_give(&arena) == FUSE_ERR_INVALID_ARG);
    arena.panic = on_panic;
    arena.flags = 1;
    CHECK(fuse_arena_give(&arena) == FUSE_ERR_INVALID_ARG);
    arena.flags = 0;
    arena.struct_size = 8;
    CHECK(fuse_arena_give(&arena) == FUSE_ERR_INVALID_ARG);
    arena.struct_size = sizeof arena;
    for (size_t length = 0; length <= 24 * 1024; length += 1021) {
        arena.length = length;
        CHECK(fuse_arena_give(&arena) == FUSE_ERR_OUT_OF_MEMORY);
    }
    arena.memory = memory + 3;
    arena.length = 28 * 1024;
    CHECK(fuse_arena_give(&arena) == FUSE_OK);
    CHECK(fuse_arena_give(&arena) == FUSE_ERR_WRONG_STATE);
    CHECK(fuse_arena_stats(NULL) == FUSE_ERR_INVALID_ARG);
    return 0;
}

static int a_panic(void) {
    fuse_runtime_t *runtime;
    fuse_platform_t table = platform();
    CHECK(give_arena(1 << 20) == FUSE_OK);
    CHECK(fuse_runtime_new(NULL, &table, &runtime, NULL, 0) == FUSE_OK);
    /* The callback is kept in a box, which is not expected to fail. */
    fuse_arena_fail_allocation(1);
    fuse_runtime_set_temp(runtime, temperature, NULL, NULL);
    return 1;
}

static void returns(void *user, const char *text, size_t length) {
    (void)user;
    (void)text;
    (void)length;
    alarm(1);
}

static int a_panic_that_returns(void) {
    static uint8_t memory[1 << 20] __attribute__((aligned(4096)));
    fuse_arena_t arena = FUSE_ARENA_INIT;
    fuse_runtime_t *runtime;
    fuse_platform_t table = platform();
    arena.memory = memory;
    arena.length = sizeof memory;
    arena.panic = returns;
    CHECK(fuse_arena_give(&arena) == FUSE_OK);
    CHECK(fuse_runtime_new(NULL, &table, &runtime, NULL, 0) == FUSE_OK);
    fuse_arena_fail_allocation(1);
    fuse_runtime_set_temp(runtime, temperature, NULL, NULL);
    return 1;
}

/* Two runtimes live beside each other in the one arena. */
static int two_runtimes(void) {
    fuse_runtime_t *one, *other;
    fuse_platform_t table = platform();
    CHECK(give_arena(1 << 20) == FUSE_OK);
    CHECK(fuse_runtime_new(NULL, &table, &one, NULL, 0) == FUSE_OK);
    uint64_t reserved = figures().reserved;
    CHECK(fuse_runtime_new(NULL, &table, &other, NULL, 0) == FUSE_OK);
    CHECK(figures().reserved == 2 * reserved);
    CHECK(fuse_runtime_close(one) == FUSE_OK && figures().reserved == reserved);
    CHECK(fuse_runtime_tick(other, NULL, NULL, 0, NULL, NULL) == FUSE_OK);
    CHECK(fuse_runtime_close(other) == FUSE_OK && figures().reserved == 0);
    return 0;
}

int main(void) {
    CHECK(in_child(before_the_arena) == 0);
    CHECK(in_child(bad_arenas) == 0);
    CHECK(in_child(a_panic) == PANICKED);
    CHECK(in_child(a_panic_that_returns) == 128 + SIGALRM);
    CHECK(in_child(two_runtimes) == 0);
    puts("flight: arenas that are not there, too short, given twice; panics; two runtimes");
    return 0;
}
