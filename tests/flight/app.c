/* A packed application, as uplinked: memory is set aside for it, for its copy in the runtime and for its modules; with too
 * little of it each call says so. Requirement ARENA-3.
 * usage: app FOLDER   (with app.bin) */
#include "flight.h"

static module_t packed;
static size_t arena_bytes;

static int fly(void) {
    fuse_app_t *app;
    fuse_runtime_t *runtime;
    fuse_platform_t table = platform();
    fuse_runtime_config_t limits = FUSE_RUNTIME_CONFIG_INIT;
    fuse_module_id_t ids[4];
    size_t loaded = 0, ran = 0;
    fuse_status_t status = give_arena(arena_bytes);
    if (status != FUSE_OK) return status;
    status = fuse_app_from_binary(packed.bytes, packed.length, &app, NULL, 0);
    if (status != FUSE_OK) return status;
    CHECK(figures().used <= figures().reserved);
    limits.app = app;
    status = fuse_runtime_new(&limits, &table, &runtime, NULL, 0);
    if (status == FUSE_OK) {
        CHECK(figures().used <= figures().reserved);
        status = register_downlink(runtime);
        if (status == FUSE_OK) status = fuse_runtime_load_app(runtime, app, NULL, NULL, ids, 4, &loaded);
        CHECK(figures().used <= figures().reserved);
        /* The application may go once its modules are there. */
        CHECK(fuse_app_close(app) == FUSE_OK);
        for (size_t i = 0; i < loaded; i++) CHECK(fuse_runtime_start(runtime, ids[i]) == FUSE_OK);
        CHECK(fuse_runtime_tick(runtime, NULL, NULL, 0, &ran, NULL) == FUSE_OK && ran == loaded);
        CHECK(fuse_runtime_close(runtime) == FUSE_OK);
    } else {
        CHECK(fuse_app_close(app) == FUSE_OK);
    }
    CHECK(figures().reserved == 0 && figures().blocks <= 2);
    CHECK(status == FUSE_OK ? loaded == 2 : loaded == 0);
    return status;
}

int main(int argc, char **argv) {
    unsigned worked = 0, refused = 0;
    CHECK(argc == 2);
    packed = module("app", argv[1], "app.bin", policy(0, 0, 0));
    for (arena_bytes = 4 * PAGE; arena_bytes < 1 << 20; arena_bytes += 3 * PAGE) {
        int status = in_child(fly);
        CHECK(status == FUSE_OK || status == FUSE_ERR_OUT_OF_MEMORY);
        /* More memory never refuses what less allowed. */
        CHECK(status == FUSE_OK || worked == 0);
        worked += status == FUSE_OK;
        refused += status != FUSE_OK;
    }
    CHECK(worked > 10 && refused > 10);
    printf("flight: a packed application flew in %u arenas and was refused by %u smaller ones\n", worked, refused);
    return 0;
}
