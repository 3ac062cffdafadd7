// {{name}}: counts its steps and says when each of them ran.
//
// Capabilities: TIMER, LOG (app_config.json grants them).
#include "fuse_module.h"

namespace {

// A log line, put together by hand: there is no standard library here.
class Line {
public:
    Line &operator<<(const char *text)
    {
        while (*text != '\0' && len_ < sizeof text_) {
            text_[len_++] = *text++;
        }
        return *this;
    }

    Line &operator<<(uint64_t number)
    {
        char digits[21];
        char *at = digits + sizeof digits - 1;
        *at = '\0';
        do {
            *--at = static_cast<char>('0' + number % 10);
            number /= 10;
        } while (number != 0);
        return *this << at;
    }

    void log(uint32_t level) const { module_log_event(text_, len_, level); }

private:
    char text_[FUSE_LOG_TEXT_MAX];
    uint32_t len_ = 0;
};

uint32_t steps;

} // namespace

FUSE_MODULE_INIT
{
    FUSE_LOG(FUSE_LOG_INFO, "{{name}}: ready");
}

FUSE_MODULE_STEP
{
    Line line;
    line << "{{name}}: step " << uint64_t{++steps} << " at "
         << static_cast<uint64_t>(timer_get_timestamp()) << " us";
    line.log(FUSE_LOG_INFO);
}
