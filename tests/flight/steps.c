/* After load and start, stepping allocates nothing: neither in the library (the arena counts), nor of the C library (the
 * archive names none of it). Requirements ARENA-4 and FLIGHT-01.
 * usage: steps FOLDER [interpreter]   (interpreter: the platform cannot make memory executable) */
#include "flight.h"

#define TICKS 100000

int main(int argc, char **argv) {
    fuse_runtime_t *runtime;
    fuse_poster_t *poster;
    fuse_platform_t table = platform();
    fuse_runtime_config_t limits = config(4);
    fuse_module_id_t first, second;
    fuse_module_stats_t stats = FUSE_MODULE_STATS_INIT;
    fuse_log_record_t record = FUSE_LOG_RECORD_INIT;
    uint64_t sequence = 0, records = 0, wait_us, size;
    uint8_t bytes[4];
    CHECK(argc == 2 || argc == 3);
    if (argc == 3) {
        table.code_publish = NULL;
        table.code_unpublish = NULL;
    }
    module_t gauge_ = gauge(argv[1]), listener_ = listener(argv[1]);
    CHECK(give_arena(1 << 20) == FUSE_OK);
    CHECK(fuse_runtime_new(&limits, &table, &runtime, NULL, 0) == FUSE_OK);
    CHECK(fuse_runtime_set_temp(runtime, temperature, NULL, NULL) == FUSE_OK);
    CHECK(fuse_runtime_set_timer(runtime, timer, NULL, NULL) == FUSE_OK);
    CHECK(fuse_runtime_set_camera(runtime, camera, NULL, NULL) == FUSE_OK);
    CHECK(register_downlink(runtime) == FUSE_OK);
    CHECK(load(runtime, &gauge_, &first) == FUSE_OK && load(runtime, &listener_, &second) == FUSE_OK);
    CHECK(fuse_runtime_start(runtime, first) == FUSE_OK && fuse_runtime_start(runtime, second) == FUSE_OK);
    CHECK(fuse_runtime_poster(runtime, &poster) == FUSE_OK);

    fuse_arena_stats_t before = figures();
    for (int i = 0; i < TICKS; i++) {
        fuse_module_id_t ran[4];
        fuse_status_t statuses[4];
        size_t count = 0, failed = 0;
        CHECK(fuse_runtime_next_deadline(runtime, &wait_us) == FUSE_OK && wait_us <= 1000);
        now_us += wait_us;
        CHECK(fuse_runtime_tick(runtime, ran, statuses, 4, &count, &failed) == FUSE_OK);
        CHECK(count == 2 && failed == 0 && ran[0] == first && ran[1] == second);
        CHECK(fuse_poster_post(poster, 1) == FUSE_OK && fuse_runtime_run_step(runtime, second) == FUSE_OK);
        CHECK(fuse_runtime_clear_event(runtime, 1) == FUSE_OK);
        while (fuse_runtime_log_next(runtime, &sequence, &record) == FUSE_OK) records++;
    }
    CHECK(fuse_runtime_module_stats(runtime, first, &stats) == FUSE_OK && stats.steps == TICKS);
    CHECK(fuse_runtime_module_memory(runtime, second, 0, bytes, 4, &size) == FUSE_OK);
    fuse_arena_stats_t after = figures();
    CHECK(after.allocations == before.allocations && after.used == before.used && after.blocks == before.blocks);
    CHECK(records == TICKS && downlinked == 256ull * TICKS);
    uint32_t woken = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    CHECK(woken == 2 * TICKS);

    /* The count does count: a load is seen. */
    module_t again = gauge_;
    fuse_module_id_t third;
    again.name = "again";
    CHECK(load(runtime, &again, &third) == FUSE_OK && figures().allocations > after.allocations);
    CHECK(fuse_poster_close(poster) == FUSE_OK && fuse_runtime_close(runtime) == FUSE_OK);
    printf("flight: %d ticks with %d callbacks%s: no allocation; peak %llu bytes\n", TICKS, 4 * TICKS,
           argc == 3 ? " in the interpreter" : "", (unsigned long long)figures().peak);
    return 0;
}
