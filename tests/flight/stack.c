/* How much stack the calls take, beside what the modules' policies allow: measured on a stack that was painted before.
 * Requirement ARENA-6.
 * usage: stack FOLDER */
#include "flight.h"

#include <ucontext.h>

#define STACK (512 * 1024)
/* The most that any call may take, the module's own stack_size aside. */
#define CALL_MAX (24 * 1024)

static uint8_t stack[STACK] __attribute__((aligned(4096)));
static ucontext_t here, there;
static fuse_runtime_t *runtime;
static module_t gauge_, wide, trap;
static fuse_module_id_t ids[3];
static void (*work)(void);

static void make(void) {
    fuse_platform_t table = platform();
    fuse_runtime_config_t limits = config(4);
    char error[100];
    CHECK(fuse_runtime_new(&limits, &table, &runtime, error, sizeof error) == FUSE_OK);
    CHECK(fuse_runtime_set_temp(runtime, temperature, NULL, NULL) == FUSE_OK);
    CHECK(register_downlink(runtime) == FUSE_OK);
}

static void load_all(void) {
    CHECK(load(runtime, &gauge_, &ids[0]) == FUSE_OK);
    CHECK(load(runtime, &wide, &ids[1]) == FUSE_OK);
    CHECK(load(runtime, &trap, &ids[2]) == FUSE_OK);
}

static void start_all(void) {
    for (int i = 0; i < 3; i++) CHECK(fuse_runtime_start(runtime, ids[i]) == FUSE_OK);
}

static void tick(void) {
    size_t ran, failed;
    now_us += 1000;
    CHECK(fuse_runtime_tick(runtime, NULL, NULL, 0, &ran, &failed) == FUSE_OK && ran > 0);
}

static void finish(void) {
    for (int i = 0; i < 3; i++) CHECK(fuse_runtime_unload(runtime, ids[i]) == FUSE_OK);
    CHECK(fuse_runtime_close(runtime) == FUSE_OK);
}

static void enter(void) { work(); }

static void measured(const char *what, void (*of)(void)) {
    memset(stack, 0x5c, sizeof stack);
    work = of;
    CHECK(getcontext(&there) == 0);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = sizeof stack;
    there.uc_link = &here;
    makecontext(&there, enter, 0);
    CHECK(swapcontext(&here, &there) == 0);
    size_t untouched = 0;
    while (untouched < sizeof stack && stack[untouched] == 0x5c) untouched++;
    printf("flight: stack of %s: %zu bytes\n", what, sizeof stack - untouched);
    CHECK(sizeof stack - untouched <= CALL_MAX);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    gauge_ = gauge(argv[1]);
    gauge_.policy.capabilities = ALL_CAPS;
    wide = module("wide", argv[1], "wide.fuse", policy(2, 0, 1000));
    trap = module("trap", argv[1], "trap.fuse", policy(0, 0, 1000));
    CHECK(give_arena(4 << 20) == FUSE_OK);
    measured("fuse_runtime_new and the callbacks", make);
    measured("fuse_runtime_load", load_all);
    measured("fuse_runtime_start", start_all);
    measured("fuse_runtime_tick with a module that fails", tick);
    measured("fuse_runtime_tick", tick);
    measured("fuse_runtime_unload and fuse_runtime_close", finish);
    return 0;
}
