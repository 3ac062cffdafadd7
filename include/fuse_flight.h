/* fuse_flight.h: what the flight library (libfuse-flight.a) has beside fuse.h.
 *
 * The flight library is the edge runtime alone: no operating system, no heap but the one arena that the host gives, no
 * thread, no file, no network, no JSON. A flight program begins with
 *
 *     static _Alignas(4096) unsigned char memory[512 * 1024];
 *     fuse_arena_t arena = FUSE_ARENA_INIT;
 *     arena.memory = memory;
 *     arena.length = sizeof memory;
 *     arena.panic = on_panic;
 *     if (fuse_arena_give(&arena) != FUSE_OK) return;
 *
 * and goes on with fuse_runtime_new, with a platform of its own. How long the arena must be: fuse_required_memory.
 *
 * Rules beside those of fuse.h:
 *
 * - One task at a time is in the library: runtimes share the arena and the engine's state. Only fuse_poster_post,
 *   fuse_poster_post_at and fuse_quota_expire may be called from anywhere at any time, interrupts among them.
 * - Running out of memory is FUSE_ERR_OUT_OF_MEMORY from fuse_runtime_new, a load, an update, a restart or
 *   fuse_runtime_register_group, which set memory aside before they take it; nothing has changed then. Steps take none.
 * - What must not happen (a mistake inside the library) calls the arena's panic function.
 */
#ifndef FUSE_FLIGHT_H
#define FUSE_FLIGHT_H

#include "fuse.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The memory of the process, and what to do when all is lost. */
typedef struct fuse_arena_t {
    /* sizeof(fuse_arena_t). */
    uint32_t struct_size;
    /* 0. */
    uint32_t flags;
    /* The memory, for as long as the program runs. Aligned to code_alignment where native code is published in it. */
    void *memory;
    /* Its length in bytes, at least 28 KiB. */
    size_t length;
    /* Given to `panic`. */
    void *user;
    /* Called when the library cannot go on; required. Must not return: reset the machine, or stop. `text` says why, `length`
     * bytes and a zero. May run in any call; the library must not be called from it. When it returns all the same, the
     * library loops for ever, for the watchdog to find. */
    void (*panic)(void *user, const char *text, size_t length);
} fuse_arena_t;

#define FUSE_ARENA_INIT {sizeof(fuse_arena_t), 0, NULL, 0, NULL, NULL}

/* Gives the library its memory, once, before any other call but fuse_required_memory. All of it is the library's for ever.
 *
 * FUSE_ERR_WRONG_STATE when it has an arena already; FUSE_ERR_OUT_OF_MEMORY when this one is shorter than 28 KiB.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no. */
fuse_status_t fuse_arena_give(const fuse_arena_t *arena);

/* Figures of the arena, in bytes where nothing else is said. */
typedef struct fuse_arena_stats_t {
    /* sizeof(fuse_arena_stats_t). */
    uint32_t struct_size;
    /* 0. */
    uint32_t reserved_0;
    /* What the host gave. */
    uint64_t length;
    /* What may be set aside of it. */
    uint64_t capacity;
    /* What is set aside now: the bounds of the runtimes and modules that are there. */
    uint64_t reserved;
    /* What is allocated now, with what the allocator adds. */
    uint64_t used;
    /* The most that was allocated at a time. */
    uint64_t peak;
    /* Blocks that are allocated now. */
    uint64_t blocks;
    /* Allocations since the start. It stands still while modules are stepped. */
    uint64_t allocations;
    /* Allocations and reservations that found no memory. */
    uint64_t failures;
} fuse_arena_stats_t;

#define FUSE_ARENA_STATS_INIT {sizeof(fuse_arena_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* Writes the figures of the arena. `out`: set its struct_size first.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no. */
fuse_status_t fuse_arena_stats(fuse_arena_stats_t *out);

/* For tests: the n-th allocation from now on finds no memory (1 = the next one); 0 takes that back.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no. */
void fuse_arena_fail_allocation(uint64_t n);

/* One module of a plan. */
typedef struct fuse_planned_module_t {
    /* sizeof(fuse_planned_module_t). */
    uint32_t struct_size;
    /* 0. */
    uint32_t reserved;
    /* The artifact. */
    const uint8_t *artifact;
    /* Its length in bytes. */
    size_t artifact_length;
    /* Its policy; NULL: FUSE_POLICY_INIT. memory_pages_max, heap_size and stack_size count. */
    const fuse_policy_t *policy;
} fuse_planned_module_t;

#define FUSE_PLANNED_MODULE_INIT {sizeof(fuse_planned_module_t), 0, NULL, 0, NULL}

/* A deployment: one runtime, its HAL groups and its modules. */
typedef struct fuse_memory_plan_t {
    /* sizeof(fuse_memory_plan_t). */
    uint32_t struct_size;
    /* 1: room to update or restart any one module while the others stay. */
    uint32_t spare;
    /* The runtime; NULL: FUSE_RUNTIME_CONFIG_INIT. max_modules and log_pool_bytes count. */
    const fuse_runtime_config_t *config;
    /* Pointers to `module_count` modules. */
    const fuse_planned_module_t *const *modules;
    size_t module_count;
    /* How many HAL groups of the host are registered, before the first module is loaded. */
    uint32_t group_count;
    /* How many functions they have in all. */
    uint32_t function_count;
    /* As in fuse_platform_t: 4096 where code_publish is there and code_alignment is 0; 1 without code_publish. 0 = 4096. */
    uint32_t code_alignment;
    /* 0. */
    uint32_t reserved;
} fuse_memory_plan_t;

#define FUSE_MEMORY_PLAN_INIT {sizeof(fuse_memory_plan_t), 0, NULL, NULL, 0, 0, 0, 0, 0}

/* Writes the length of the arena, in bytes, that the deployment takes: with that much each of its calls finds its memory,
 * with a page of 4096 bytes less one of them is FUSE_ERR_OUT_OF_MEMORY. It is a bound: `peak` of fuse_arena_stats says
 * what was really used. May be called before fuse_arena_give.
 *
 * FUSE_ERR_INVALID_ARG for what is no artifact, and for a configuration that is not valid.
 *
 * ISR-safe: no; allocates: no (yes where the configuration names an application); blocks: no; thread-safe: no. */
fuse_status_t fuse_required_memory(const fuse_memory_plan_t *plan, uint64_t *out_bytes);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* FUSE_FLIGHT_H */
