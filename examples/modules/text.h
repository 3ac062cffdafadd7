/* text.h: log lines without libc. A line that would be longer than the log takes is cut. */
#ifndef TEXT_H
#define TEXT_H

#include <fuse_module.h>

struct line {
    char text[FUSE_LOG_TEXT_MAX];
    uint32_t len;
};

static inline void line_text(struct line *line, const char *text)
{
    while (*text != '\0' && line->len < FUSE_LOG_TEXT_MAX) {
        line->text[line->len++] = *text++;
    }
}

static inline void line_number(struct line *line, uint64_t number)
{
    char digits[21];
    uint32_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + (char)(number % 10));
        number /= 10;
    } while (number != 0);
    line_text(line, digits + at);
}

static inline void line_log(const struct line *line, uint32_t level)
{
    module_log_event(line->text, line->len, level);
}

#endif /* TEXT_H */
