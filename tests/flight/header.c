/* The header of the flight library: every standard takes it, twice, and its structs keep their shape. */
#include <fuse_flight.h>
#include <fuse_flight.h>

#define HOLDS(name, condition) typedef char name[(condition) ? 1 : -1]

#if UINTPTR_MAX == 0xffffffffffffffffu
HOLDS(arena_size, sizeof(fuse_arena_t) == 40);
HOLDS(arena_memory, offsetof(fuse_arena_t, memory) == 8);
HOLDS(arena_length, offsetof(fuse_arena_t, length) == 16);
HOLDS(arena_panic, offsetof(fuse_arena_t, panic) == 32);
HOLDS(plan_size, sizeof(fuse_memory_plan_t) == 48);
HOLDS(plan_config, offsetof(fuse_memory_plan_t, config) == 8);
HOLDS(plan_groups, offsetof(fuse_memory_plan_t, group_count) == 32);
HOLDS(module_size, sizeof(fuse_planned_module_t) == 32);
HOLDS(module_policy, offsetof(fuse_planned_module_t, policy) == 24);
#endif
HOLDS(stats_size, sizeof(fuse_arena_stats_t) == 72);
HOLDS(stats_used, offsetof(fuse_arena_stats_t, used) == 32);
HOLDS(stats_failures, offsetof(fuse_arena_stats_t, failures) == 64);

int fuse_flight_header_test(void);
int fuse_flight_header_test(void) {
    fuse_arena_t arena = FUSE_ARENA_INIT;
    fuse_arena_stats_t stats = FUSE_ARENA_STATS_INIT;
    fuse_memory_plan_t plan = FUSE_MEMORY_PLAN_INIT;
    fuse_planned_module_t module = FUSE_PLANNED_MODULE_INIT;
    return (int)(arena.struct_size + stats.struct_size + plan.struct_size + module.struct_size);
}
