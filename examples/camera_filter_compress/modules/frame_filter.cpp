// frame_filter in C++: see frame_filter.c, which it matches line for line in the log.
#include <fuse_module.h>

#include "frame_rle.h"
#include "text.h"

namespace {

constexpr uint32_t data_captured = 1; // as in app_config.json
constexpr uint64_t variance_min = 600; // grey levels squared

class Line {
public:
    Line &operator<<(const char *text)
    {
        line_text(&line_, text);
        return *this;
    }
    Line &operator<<(uint64_t number)
    {
        line_number(&line_, number);
        return *this;
    }
    ~Line() { line_log(&line_, FUSE_LOG_INFO); }

private:
    line line_{};
};

class FrameFilter {
public:
    void step()
    {
        auto bytes = camera_last_frame(frame_, sizeof frame_);
        if (bytes == 0) {
            Line() << "frame_filter: woken without a frame";
            return;
        }
        auto found = variance(static_cast<uint32_t>(bytes));
        bool keep = found >= variance_min;
        seen_++;
        Line() << "frame_filter: " << (keep ? "keep" : "drop") << ", variance " << found;
        if (keep) {
            kept_++;
            fuse_event_post(data_captured);
        }
    }

    void deinit() const
    {
        Line() << "frame_filter: kept " << uint64_t{kept_} << " of " << uint64_t{seen_};
    }

private:
    // Grey levels squared, rounded down.
    uint64_t variance(uint32_t len) const
    {
        uint64_t sum = 0;
        uint64_t squares = 0;
        for (uint32_t i = 0; i < len; i++) {
            uint32_t pixel = frame_[i];
            sum += pixel;
            squares += pixel * pixel;
        }
        return (len * squares - sum * sum) / (uint64_t{len} * len);
    }

    uint8_t frame_[FRAME_BYTES];
    uint32_t seen_;
    uint32_t kept_;
};

FrameFilter filter; // zero: a constructor would need a start function

} // namespace

FUSE_MODULE_STEP { filter.step(); }

FUSE_MODULE_DEINIT { filter.deinit(); }
