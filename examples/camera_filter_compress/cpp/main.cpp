// camera_filter_compress in C++: two modules in a chain, neither of which polls. The camera interrupts when it has a
// frame: a signal handler posts CAMERA_FRAME_READY. frame_filter wakes on that and posts DATA_CAPTURED when the frame is
// worth keeping; frame_compress wakes on that, in the same tick, and sends the encoded frame down.
//
// usage: camera_filter_compress [OUT] [EXAMPLES]
#include <fuse.hpp>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iostream>
#include <sstream>

#include "frames.h"

namespace {

struct hardware {
    std::vector<uint8_t> newest = std::vector<uint8_t>(FRAME_BYTES);
    std::vector<uint8_t> packet;
};

// What the interrupt uses: set before the handler is there, and never changed after.
const fuse_poster_t *interrupt_poster = nullptr;
uint32_t interrupt_event = 0;

extern "C" void on_interrupt(int) { fuse_poster_post(interrupt_poster, interrupt_event); }

fuse::app read_app(const std::string &folder) {
    std::ifstream file(folder + "/app_config.json");
    std::stringstream json;
    json << file.rdbuf();
    return fuse::app::from_json(json.str()).value();
}

// Connects the camera and the downlink.
void connect(fuse::runtime &runtime, hardware &hw) {
    runtime.set_camera([&hw](fuse::bytes_span buffer) {
        const size_t length = std::min(buffer.size(), hw.newest.size());
        std::copy_n(hw.newest.begin(), length, buffer.begin());
        return length;
    }).value();
    fuse::hal_group downlink("downlink", 8);
    downlink.function("downlink_write", {FUSE_HAL_IN}, FUSE_HAL_I32, [&hw](fuse::hal_call &call) {
        const fuse::bytes_view packet = call.input(0);
        hw.packet.assign(packet.begin(), packet.end());
        call.returns(static_cast<int32_t>(packet.size()));
        return 0;
    });
    runtime.add(std::move(downlink)).value();
}

// What frame_filter said of the frame since `sequence`: the part of its log line after the verdict.
std::string verdict(fuse::runtime &runtime, uint64_t sequence) {
    const std::string prefix = "frame_filter: ";
    while (const auto record = runtime.log_next(sequence).value()) {
        const std::string text = record->text;
        if (text.rfind(prefix, 0) != 0) continue;
        const size_t comma = text.find(", ");
        return comma == std::string::npos ? text.substr(prefix.size()) : text.substr(comma + 2);
    }
    return "no verdict";
}

int run(const std::string &out, const std::string &examples) {
    sky sky{};
    report report{};
    if (!sky_load(&sky, (examples + "/frames/hubble_deep_field.pgm").c_str()) || !report_begin(&report, out.c_str()))
        return 1;
    const std::string folder = examples + "/camera_filter_compress";
    hardware hw;
    const fuse::app app = read_app(folder);
    fuse::runtime runtime = fuse::runtime::make(fuse::runtime_config(app)).value();
    connect(runtime, hw);
    const auto modules = runtime.load_app_files(app, folder).value();
    for (const fuse_module_id_t id : modules) runtime.start(id).value();

    const fuse::poster poster = runtime.make_poster().value();
    interrupt_poster = poster.get();
    interrupt_event = app.event("CAMERA_FRAME_READY").value();
    std::signal(SIGUSR1, on_interrupt);
    uint64_t seen = 0;
    for (uint32_t number = 0; number < SWEEP; number++) {
        sky_frame(&sky, number, hw.newest.data());
        hw.packet.clear();
        std::raise(SIGUSR1); // what the camera's hardware does
        std::signal(SIGUSR1, on_interrupt);
        while (runtime.log_next(seen).value()) {
        }
        runtime.tick().value();
        const std::string why = verdict(runtime, seen);
        const outcome outcome{hw.packet.empty() ? nullptr : hw.packet.data(), hw.packet.size(), why.c_str()};
        report_add(&report, number, hw.newest.data(), &outcome);
    }
    std::signal(SIGUSR1, SIG_IGN);

    bool healthy = true;
    for (const fuse_module_id_t id : modules) {
        const fuse_module_info_t info = runtime.info(id).value();
        std::cout << info.name << " " << fuse_state_name(info.state) << "\n";
        healthy = healthy && info.state == FUSE_STATE_RUNNING;
        runtime.unload(id).value();
    }
    sky_free(&sky);
    return report_end(&report) && healthy && report.failed == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
    try {
        return run(argc > 1 ? argv[1] : ".", argc > 2 ? argv[2] : "../..");
    } catch (const std::exception &e) {
        std::cerr << "camera_filter_compress: " << e.what() << "\n";
        return 1;
    }
}
