#include "json.h"
#include "machine.h"

static int blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* Reads the string that begins at `at` (a quote). Returns where it ends, or 0. */
static uint32_t read_string(const char *text, uint32_t length, uint32_t at, char *out, uint32_t room)
{
    uint32_t n = 0;
    for (at++; at < length && text[at] != '"'; at++) {
        char c = text[at];
        if (c == '\\' && at + 1 < length) {
            c = text[++at];
            if (c == 'n')
                c = '\n';
            else if (c == 't')
                c = '\t';
            else if (c == 'r')
                c = '\r';
            else if (c == 'u' && at + 4 < length) {
                int value = 0;
                for (int i = 1; i <= 4; i++) {
                    char d = text[at + (uint32_t)i];
                    value = value * 16 + (d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
                }
                c = (char)value;
                at += 4;
            }
        }
        if (n + 1 >= room)
            return 0;
        out[n++] = c;
    }
    if (n >= room)
        return 0;
    out[n] = 0;
    return at < length ? at + 1 : 0;
}

/* Where the value of a field begins, or 0. */
static uint32_t value_of(const char *text, uint32_t length, const char *name)
{
    static char key[256];
    for (uint32_t at = 0; at < length; at++) {
        if (text[at] != '"')
            continue;
        uint32_t end = read_string(text, length, at, key, sizeof key);
        if (!end) {
            /* A string that is longer than any name. */
            for (at++; at < length && text[at] != '"'; at++)
                at += text[at] == '\\';
            continue;
        }
        uint32_t next = end;
        while (next < length && blank(text[next]))
            next++;
        if (next < length && text[next] == ':' && same(key, name)) {
            for (next++; next < length && blank(text[next]);)
                next++;
            return next;
        }
        at = end - 1;
    }
    return 0;
}

int json_string(const char *text, uint32_t length, const char *name, char *out, uint32_t room)
{
    uint32_t at = value_of(text, length, name);
    return at && at < length && text[at] == '"' && read_string(text, length, at, out, room) != 0;
}

int json_number(const char *text, uint32_t length, const char *name, int64_t *out)
{
    uint32_t at = value_of(text, length, name);
    if (!at || at >= length || !(text[at] == '-' || (text[at] >= '0' && text[at] <= '9')))
        return 0;
    int negative = text[at] == '-';
    int64_t value = 0;
    for (at += (uint32_t)negative; at < length && text[at] >= '0' && text[at] <= '9'; at++)
        value = value * 10 + (text[at] - '0');
    *out = negative ? -value : value;
    return 1;
}

int json_true(const char *text, uint32_t length, const char *name)
{
    uint32_t at = value_of(text, length, name);
    return at && at < length && text[at] == 't';
}

int json_strings(const char *text, uint32_t length, const char *name, char *out, uint32_t room)
{
    uint32_t at = value_of(text, length, name);
    int count = 0;
    if (!at || at >= length || text[at] != '[')
        return 0;
    for (at++; at < length && text[at] != ']';) {
        if (text[at] != '"') {
            at++;
            continue;
        }
        at = read_string(text, length, at, out, room);
        if (!at)
            return 0;
        uint32_t used = (uint32_t)strlen(out) + 1;
        out += used;
        room -= used;
        count++;
    }
    return count;
}

static void add(struct answer *a, char c)
{
    if (a->length < sizeof a->text)
        a->text[a->length++] = c;
}

static void add_text(struct answer *a, const char *text)
{
    while (*text)
        add(a, *text++);
}

static void add_name(struct answer *a, const char *name)
{
    add_text(a, a->length > 1 ? ",\"" : "\"");
    add_text(a, name);
    add_text(a, "\":");
}

void answer_begin(struct answer *a)
{
    a->length = 0;
    add(a, '{');
}

void answer_string(struct answer *a, const char *name, const char *value)
{
    add_name(a, name);
    add(a, '"');
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            add(a, '\\');
        if (*value == '\n')
            add_text(a, "\\n");
        else if ((uint8_t)*value >= 32)
            add(a, *value);
    }
    add(a, '"');
}

void answer_number(struct answer *a, const char *name, int64_t value)
{
    char digits[24];
    int n = 0;
    add_name(a, name);
    if (value < 0)
        add(a, '-');
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        digits[n++] = (char)('0' + rest % 10);
    while (rest /= 10);
    while (n)
        add(a, digits[--n]);
}

void answer_raw(struct answer *a, const char *name, const char *raw)
{
    add_name(a, name);
    add_text(a, raw);
}

void answer_true(struct answer *a, const char *name) { answer_raw(a, name, "true"); }

void answer_end(struct answer *a) { add(a, '}'); }
