// The calls of a scenario, with fuse.hpp.
#include <fuse.hpp>

#include "driver.h"

#include <algorithm>
#include <cstring>
#include <thread>

char call_error[ERROR_CAPACITY];

namespace {

std::optional<fuse::runtime> runtime;
std::optional<fuse::app> app;

// Keeps the text of a failure.
template <class T> fuse_status_t of(const fuse::result<T> &result) {
    std::snprintf(call_error, sizeof call_error, "%s", result.message().c_str());
    return result.status();
}

// The same, and gives the value.
template <class T, class U> fuse_status_t into(fuse::result<T> result, U *out) {
    if (result.ok()) *out = std::move(result.value());
    return of(result);
}

fuse_status_t into_bytes(fuse::result<std::vector<uint8_t>> result, struct bytes *out) {
    if (result.ok()) {
        out->length = result.value().size();
        out->data = static_cast<uint8_t *>(std::malloc(out->length + 1));
        std::copy(result.value().begin(), result.value().end(), out->data);
    }
    return of(result);
}

struct scenario_platform : fuse::platform {
    uint32_t flag = 0;
    uint64_t timestamp_us() override { return driver_clock_us; }
    uint32_t flags() const override { return flag; }
};

// Arguments as text: i INTEGER, f REAL, x HEXADECIMAL, joined by commas.
std::string arguments(const fuse::hal_call &call, const group_function &function) {
    std::string out;
    char number[64];
    for (size_t i = 0; i < function.param_count; i++) {
        if (i) out += ',';
        switch (function.params[i]) {
        case FUSE_HAL_I32: out += "i" + std::to_string(call.i32(i)); break;
        case FUSE_HAL_I64: out += "i" + std::to_string(call.i64(i)); break;
        case FUSE_HAL_F32: std::snprintf(number, sizeof number, "f%.17g", static_cast<double>(call.f32(i))); out += number; break;
        case FUSE_HAL_F64: std::snprintf(number, sizeof number, "f%.17g", call.f64(i)); out += number; break;
        case FUSE_HAL_OUT: out += "i" + std::to_string(call.output(i).size()); break;
        default:
            out += 'x';
            for (const uint8_t byte : call.input(i)) {
                std::snprintf(number, sizeof number, "%02x", byte);
                out += number;
            }
        }
    }
    return out;
}

void give(fuse::hal_call &call, fuse_hal_type_t result, const answer &answer) {
    switch (result) {
    case FUSE_HAL_I32: call.returns(static_cast<int32_t>(answer.integer)); break;
    case FUSE_HAL_I64: call.returns(answer.integer); break;
    case FUSE_HAL_F32: call.returns(static_cast<float>(answer.real)); break;
    case FUSE_HAL_F64: call.returns(answer.real); break;
    default: break;
    }
}

int32_t host_function(fuse::hal_call &call, const group_function &function) {
    const answer answer = driver_answer(function.name, arguments(call, function).c_str(), call.module());
    // Every second code goes as an exception, so that both ways are used.
    if (answer.fail % 2 != 0) throw fuse::hal_fault{answer.fail};
    if (answer.fail != 0) return answer.fail;
    for (size_t i = 0; i < function.param_count; i++) {
        if (function.params[i] != FUSE_HAL_OUT && function.params[i] != FUSE_HAL_INOUT) continue;
        const fuse::bytes_span output = call.output(i);
        std::copy_n(answer.bytes, std::min(answer.bytes_length, output.size()), output.begin());
        break;
    }
    if (answer.wrong_type && function.result != FUSE_HAL_NONE) {
        if (function.result == FUSE_HAL_F64) call.returns(int32_t{0});
        else call.returns(0.0);
        return 0;
    }
    give(call, function.result, answer);
    return 0;
}

} // namespace

extern "C" {

fuse_status_t call_policy_json(const char *json, fuse_policy_t *out) { return into(fuse::policy::from_json(json), out); }

fuse_status_t call_policy_bytes(const uint8_t *bytes, size_t length, fuse_policy_t *out) {
    return into(fuse::policy::from_bytes({bytes, length}), out);
}

fuse_status_t call_policy_to_bytes(const fuse_policy_t *policy, uint8_t out[FUSE_POLICY_BYTES]) {
    auto bytes = fuse::policy(*policy).to_bytes();
    if (bytes.ok()) std::copy(bytes.value().begin(), bytes.value().end(), out);
    return of(bytes);
}

fuse_status_t call_compile(const uint8_t *source, size_t length, uint32_t metering, const char *target, int portable,
                           struct bytes *out) {
    fuse::compile_options options;
    options.metering = metering;
    options.target = std::strcmp(target, "-") ? target : nullptr;
    options.portable = static_cast<uint32_t>(portable);
    return into_bytes(fuse::compile({source, length}, options), out);
}

fuse_status_t call_app_json(const char *json) {
    app.reset();
    auto made = fuse::app::from_json(json);
    if (made.ok()) app.emplace(std::move(made.value()));
    return of(made);
}

fuse_status_t call_app_binary(const uint8_t *bytes, size_t length) {
    app.reset();
    auto made = fuse::app::from_binary({bytes, length});
    if (made.ok()) app.emplace(std::move(made.value()));
    return of(made);
}

fuse_status_t call_app_pack(struct bytes *out) { return into_bytes(app->to_binary(), out); }

fuse_status_t call_app_artifact(uint32_t index, const uint8_t *bytes, size_t length) {
    return of(app->set_artifact(index, {bytes, length}));
}

fuse_status_t call_app_module(uint32_t index, char name[FUSE_NAME_CAPACITY], char binary[4096]) {
    auto module = app->module(index);
    if (!module.ok()) return module.status();
    std::memcpy(name, module.value().name, FUSE_NAME_CAPACITY);
    std::snprintf(binary, 4096, "%s", app->module_binary(index).value().c_str());
    return FUSE_OK;
}

void call_app_close(void) { app.reset(); }

fuse_status_t call_new(int for_app, int no_compile, uint32_t stack_bytes_max, int quota_timer) {
    runtime.reset();
    fuse::runtime_config config;
    config.app = for_app ? app->get() : nullptr;
    config.no_compile_on_load = static_cast<uint32_t>(no_compile);
    config.stack_bytes_max = stack_bytes_max;
    config.step_timing = FUSE_TIMING_EVERY;
    auto platform = std::make_unique<scenario_platform>();
    platform->flag = quota_timer ? FUSE_PLATFORM_OWN_QUOTA_TIMER : 0;
    auto made = fuse::runtime::make(config, std::move(platform));
    if (made.ok()) runtime.emplace(std::move(made.value()));
    return of(made);
}

void call_close(void) { runtime.reset(); }

fuse_status_t call_load_app(fuse_module_id_t *ids, size_t capacity, size_t *count) {
    auto loaded = runtime->load_app(*app, [](const char *, const char *binary) -> fuse::result<fuse::bytes_view> {
        const uint8_t *bytes = nullptr;
        size_t length = 0;
        if (!driver_fetch(binary, &bytes, &length)) return {FUSE_ERR_NOT_FOUND, "no such artifact"};
        return fuse::bytes_view(bytes, length);
    });
    if (loaded.ok()) {
        *count = loaded.value().size();
        std::copy_n(loaded.value().begin(), std::min(*count, capacity), ids);
    }
    return of(loaded);
}

fuse_status_t call_load(const char *name, const uint8_t *artifact, size_t length, const fuse_policy_t *policy,
                        fuse_module_id_t *out) {
    return into(runtime->load(name, {artifact, length}, *policy), out);
}

fuse_status_t call_update(fuse_module_id_t id, const uint8_t *artifact, size_t length) {
    return of(runtime->update(id, {artifact, length}));
}

fuse_status_t call_plain(const char *what, fuse_module_id_t id) {
    const std::string_view name = what;
    if (name == "start") return of(runtime->start(id));
    if (name == "pause") return of(runtime->pause(id));
    if (name == "run_step") return of(runtime->run_step(id));
    if (name == "unload") return of(runtime->unload(id));
    if (name == "restart_module") return of(runtime->restart_module(id));
    if (name == "stop") return of(runtime->stop());
    if (name == "restart") return of(runtime->restart());
    if (name == "tick") return of(runtime->tick());
    return FUSE_ERR_INVALID_ARG;
}

fuse_status_t call_tick(fuse_module_id_t *ids, fuse_status_t *statuses, size_t capacity, size_t *ran) {
    auto outcomes = runtime->tick();
    if (!outcomes.ok()) return of(outcomes);
    *ran = std::min(outcomes.value().size(), capacity);
    for (size_t i = 0; i < *ran; i++) {
        ids[i] = outcomes.value()[i].module;
        statuses[i] = outcomes.value()[i].status;
    }
    return FUSE_OK;
}

fuse_status_t call_post(uint32_t event) { return of(runtime->post_event(event)); }

fuse_status_t call_post_from_thread(uint32_t event) {
    auto made = runtime->make_poster();
    if (!made.ok()) return of(made);
    const fuse::poster poster = std::move(made.value());
    bool posted = false;
    std::thread([&] { posted = poster.post(event); }).join();
    return posted ? FUSE_OK : of(runtime->post_event(event));
}

fuse_status_t call_clear(uint32_t event) { return of(runtime->clear_event(event)); }
fuse_status_t call_deadline(uint64_t *out) { return into(runtime->next_deadline_us(), out); }

fuse_status_t call_set_callback(const char *function) {
    const std::string_view name = function;
    if (name == "temp_get_reading")
        return of(runtime->set_temp([]() -> fuse::hal<float> {
            const answer answer = driver_answer("temp_get_reading", "", 0);
            if (answer.fail) throw fuse::hal_fault{answer.fail};
            return static_cast<float>(answer.real);
        }));
    if (name == "timer_get_timestamp")
        return of(runtime->set_timer([]() -> fuse::hal<int64_t> {
            const answer answer = driver_answer("timer_get_timestamp", "", 0);
            return answer.fail ? fuse::hal<int64_t>::fault(answer.fail) : answer.integer;
        }));
    if (name == "camera_last_frame")
        return of(runtime->set_camera([](fuse::bytes_span buffer) -> fuse::hal<size_t> {
            const answer answer = driver_answer("camera_last_frame", ("i" + std::to_string(buffer.size())).c_str(), 0);
            if (answer.fail) return fuse::hal<size_t>::fault(answer.fail);
            const size_t length = std::min(buffer.size(), answer.bytes_length);
            std::copy_n(answer.bytes, length, buffer.begin());
            return answer.has_claim ? answer.claim : length;
        }));
    return FUSE_ERR_INVALID_ARG;
}

fuse_status_t call_register(const char *name, uint32_t bit, const struct group_function *functions, size_t count) {
    fuse::hal_group group(name, bit);
    for (size_t i = 0; i < count; i++) {
        const group_function function = functions[i];
        const std::vector<fuse_hal_type_t> params(function.params, function.params + function.param_count);
        group.function(function.name, params, function.result,
                       [function](fuse::hal_call &call) { return host_function(call, function); });
    }
    return of(runtime->add(std::move(group)));
}

fuse_status_t call_info(fuse_module_id_t id, fuse_module_info_t *out) { return into(runtime->info(id), out); }

fuse_status_t call_failure(fuse_module_id_t id, char out[512]) {
    auto text = runtime->failure(id);
    if (text.ok()) std::snprintf(out, 512, "%s", text.value().c_str());
    return of(text);
}

fuse_status_t call_stats(fuse_module_id_t id, fuse_module_stats_t *out) { return into(runtime->stats(id), out); }

fuse_status_t call_log_next(uint64_t *sequence, fuse_log_record_t *out) {
    auto record = runtime->log_next(*sequence);
    if (!record.ok()) return of(record);
    if (!record.value()) return FUSE_END;
    *out = *record.value();
    return FUSE_OK;
}

fuse_status_t call_log_counts(uint64_t *next, uint64_t *lost, uint64_t *lost_security) {
    auto counts = runtime->log_counts();
    if (counts.ok()) {
        *next = counts.value().next_sequence;
        *lost = counts.value().lost;
        *lost_security = counts.value().lost_security;
    }
    return of(counts);
}

fuse_status_t call_modules(fuse_module_id_t *ids, size_t capacity, size_t *count) {
    auto modules = runtime->modules();
    if (modules.ok()) {
        *count = modules.value().size();
        std::copy_n(modules.value().begin(), std::min(*count, capacity), ids);
    }
    return of(modules);
}

fuse_status_t call_find(const char *name, fuse_module_id_t *out) { return into(runtime->find(name), out); }
}
