// fuse.hpp: callbacks that throw, results with and without exceptions, handles that move.
#include <fuse.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                        \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

static const char TEMP_MODULE[] = "(module (import \"env\" \"temp_get_reading\" (func $r (result f32)))"
                                  "(func (export \"module_step\") (drop (call $r))))";

static_assert(!std::is_copy_constructible_v<fuse::runtime> && std::is_nothrow_move_constructible_v<fuse::runtime>, "");
static_assert(!std::is_copy_constructible_v<fuse::poster> && !std::is_copy_constructible_v<fuse::app>, "");

static fuse_module_id_t thermometer(fuse::runtime &runtime) {
    fuse::policy policy;
    policy.capabilities = FUSE_CAP_TEMP_SENSOR;
    const auto id = runtime.load("thermometer", fuse::bytes_of(TEMP_MODULE), policy).value();
    runtime.start(id).value();
    return id;
}

// A callback's captures live as long as the callback.
static void lives_as_long_as_it_must() {
    const auto token = std::make_shared<int>(0);
    {
        fuse::runtime runtime = fuse::runtime::make().value();
        runtime.set_temp([token] { return static_cast<float>(++*token); }).value();
        const auto id = thermometer(runtime);
        fuse::runtime moved = std::move(runtime);
        moved.run_step(id).value();
        CHECK(*token == 1 && token.use_count() == 2);
        moved.set_temp(nullptr).value();
        CHECK(token.use_count() == 1);
        moved.run_step(id).value();
        moved.set_temp([token] { return 1.0f; }).value();
    }
    CHECK(token.use_count() == 1);
}

static void failures() {
    fuse::runtime runtime = fuse::runtime::make().value();
    const auto refused = runtime.load("", {}, fuse::policy());
    CHECK(!refused.ok() && refused.status() == FUSE_ERR_INVALID_ARG && !refused.message().empty());
    runtime.set_temp([]() -> fuse::hal<float> { return fuse::hal<float>::fault(9); }).value();
    const auto id = thermometer(runtime);
    CHECK(runtime.run_step(id).status() == FUSE_ERR_TRAP);
    CHECK(runtime.failure(id).value().find('9') != std::string::npos);
#ifndef FUSE_NO_EXCEPTIONS
    runtime.set_temp([]() -> fuse::hal<float> { throw std::runtime_error("sensor"); }).value();
    runtime.restart_module(id).value();
    CHECK(runtime.run_step(id).status() == FUSE_ERR_TRAP);
    CHECK(runtime.failure(id).value().find(std::to_string(FUSE_HAL_CALLBACK_THREW)) != std::string::npos);
    runtime.set_temp([]() -> fuse::hal<float> { throw fuse::hal_fault{31}; }).value();
    runtime.restart_module(id).value();
    CHECK(runtime.run_step(id).status() == FUSE_ERR_TRAP);
    CHECK(runtime.failure(id).value().find("31") != std::string::npos);
    bool caught = false;
    try {
        runtime.run_step(id).value();
    } catch (const fuse::error &e) {
        caught = e.status() == FUSE_ERR_WRONG_STATE && std::strlen(e.what()) > 0;
    }
    CHECK(caught);
    // The runtime goes on.
    runtime.set_temp([] { return 20.0f; }).value();
    runtime.restart_module(id).value();
    CHECK(runtime.run_step(id).ok());
#endif
}

static void control_plane() {
    const auto chosen = fuse::orchestrator::open("state", "stub", "no-vms").value();
    CHECK(chosen.provider().value().find("\"name\":\"stub\"") != std::string::npos);
    CHECK(fuse::orchestrator::open("other", "local", "no-vms").status() == FUSE_ERR_UNAVAILABLE);
    auto fuse = fuse::orchestrator::in_memory().value();
    const std::string made = fuse.provision("{\"task_id\":\"t1\"}").value();
    const size_t at = made.find("\"id\":\"") + 6;
    const std::string id = made.substr(at, made.find('"', at) - at);
    CHECK(fuse.wait_running(id, 30000).value().find("\"running\"") != std::string::npos);
    CHECK(fuse.exec(id, "{\"cmd\":[\"echo\",\"hello\"]}").value().find("hello") != std::string::npos);
    const auto missing = fuse.get("fuse-nowhere");
    CHECK(missing.status() == FUSE_ERR_NOT_FOUND && missing.message().find("not_found") != std::string::npos);
    fuse.destroy(id).value();
    CHECK(fuse.list().value().find("environments") != std::string::npos);
}

int main() {
    lives_as_long_as_it_must();
    failures();
    control_plane();
    return 0;
}
