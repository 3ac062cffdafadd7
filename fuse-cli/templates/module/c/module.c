/* {{name}}: counts its steps and says when each of them ran.
 *
 * Capabilities: TIMER, LOG (app_config.json grants them).
 */
#include "fuse_module.h"

static uint32_t steps;

/* A log line, put together by hand: there is no libc here. */
static char line[FUSE_LOG_TEXT_MAX];
static uint32_t line_len;

static void put_text(const char *text)
{
    while (*text != '\0' && line_len < sizeof line) {
        line[line_len++] = *text++;
    }
}

static void put_number(uint64_t number)
{
    char digits[21];
    uint32_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + (char)(number % 10));
        number /= 10;
    } while (number != 0);
    put_text(digits + at);
}

FUSE_MODULE_INIT
{
    FUSE_LOG(FUSE_LOG_INFO, "{{name}}: ready");
}

FUSE_MODULE_STEP
{
    line_len = 0;
    put_text("{{name}}: step ");
    put_number(++steps);
    put_text(" at ");
    put_number((uint64_t)timer_get_timestamp());
    put_text(" us");
    module_log_event(line, line_len, FUSE_LOG_INFO);
}
