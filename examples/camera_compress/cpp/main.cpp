// camera_compress in C++: a module that the runtime steps at an interval takes each camera frame, encodes it without loss
// and hands it to a HAL group that this program registers. A second module asks for a sensor that its policy does not
// grant, and is stopped for it; the first does not notice.
//
// usage: camera_compress [OUT] [EXAMPLES]
#include <fuse.hpp>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>
#include <thread>

#include "frames.h"

namespace {

// A camera that shows the sky, and a downlink.
struct hardware {
    std::vector<uint8_t> newest = std::vector<uint8_t>(FRAME_BYTES);
    std::vector<uint8_t> packet;
};

fuse::app read_app(const std::string &folder) {
    std::ifstream file(folder + "/app_config.json");
    std::stringstream json;
    json << file.rdbuf();
    return fuse::app::from_json(json.str()).value();
}

// Makes the runtime, with the hardware behind its HAL, and loads and starts the application.
fuse::runtime boot(const std::string &folder, hardware &hw) {
    const fuse::app app = read_app(folder);
    fuse::runtime runtime = fuse::runtime::make(fuse::runtime_config(app)).value();
    runtime.set_camera([&hw](fuse::bytes_span buffer) {
        const size_t length = std::min(buffer.size(), hw.newest.size());
        std::copy_n(hw.newest.begin(), length, buffer.begin());
        return length;
    }).value();
    runtime.set_timer([zero = std::chrono::steady_clock::now()]() -> fuse::hal<int64_t> {
        const auto since = std::chrono::steady_clock::now() - zero;
        return std::chrono::duration_cast<std::chrono::microseconds>(since).count();
    }).value();
    fuse::hal_group downlink("downlink", 8);
    downlink.function("downlink_write", {FUSE_HAL_IN}, FUSE_HAL_I32, [&hw](fuse::hal_call &call) {
        const fuse::bytes_view packet = call.input(0);
        hw.packet.assign(packet.begin(), packet.end());
        call.returns(static_cast<int32_t>(packet.size()));
        return 0;
    });
    runtime.add(std::move(downlink)).value();
    for (const fuse_module_id_t id : runtime.load_app_files(app, folder).value()) runtime.start(id).value();
    return runtime;
}

// Sleeps until something is due and ticks once; again, until `module` was among it.
void step_until_due(fuse::runtime &runtime, fuse_module_id_t module) {
    for (bool ran = false; !ran;) {
        const uint64_t us = runtime.next_deadline_us().value();
        if (us == FUSE_NEVER) throw std::runtime_error("no module is due any more");
        std::this_thread::sleep_for(std::chrono::microseconds(us));
        const auto outcomes = runtime.tick().value();
        ran = std::any_of(outcomes.begin(), outcomes.end(), [&](const auto &o) { return o.module == module; });
    }
}

// Prints the security log. Says whether thermal_probe was refused, and only it.
bool print_end(fuse::runtime &runtime, fuse_module_id_t compress) {
    uint64_t sequence = 0;
    while (const auto record = runtime.log_next(sequence).value())
        if (record->source == FUSE_LOG_SOURCE_SECURITY) std::cout << "security log: " << record->text << "\n";
    const fuse_module_info_t probe = runtime.info(runtime.find("thermal_probe").value()).value();
    return probe.state == FUSE_STATE_TRAPPED && probe.failure == FUSE_ERR_POLICY_VIOLATION &&
           runtime.info(compress).value().state == FUSE_STATE_RUNNING;
}

int run(const std::string &out, const std::string &examples) {
    sky sky{};
    report report{};
    if (!sky_load(&sky, (examples + "/frames/hubble_deep_field.pgm").c_str()) || !report_begin(&report, out.c_str()))
        return 1;
    hardware hw;
    fuse::runtime runtime = boot(examples + "/camera_compress", hw);
    const fuse_module_id_t compress = runtime.find("camera_compress").value();
    for (uint32_t number = 0; number < SWEEP; number++) {
        sky_frame(&sky, number, hw.newest.data());
        hw.packet.clear();
        step_until_due(runtime, compress);
        const outcome outcome{hw.packet.empty() ? nullptr : hw.packet.data(), hw.packet.size(),
                              hw.packet.empty() ? "no packet" : "taken"};
        report_add(&report, number, hw.newest.data(), &outcome);
    }
    const bool refused = print_end(runtime, compress);
    sky_free(&sky);
    return report_end(&report) && refused && report.kept == SWEEP ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
    try {
        return run(argc > 1 ? argv[1] : ".", argc > 2 ? argv[2] : "../..");
    } catch (const std::exception &e) {
        std::cerr << "camera_compress: " << e.what() << "\n";
        return 1;
    }
}
