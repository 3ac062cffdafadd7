/* As much JSON as the verbs need. Fields are found by name wherever they stand: the names of one request differ. */
#ifndef JSON_H
#define JSON_H
#include <stdint.h>

/* The string of a field, unescaped (\uXXXX of ASCII only). Returns 0 when it is not there or does not fit. */
int json_string(const char *text, uint32_t length, const char *name, char *out, uint32_t room);
/* The whole number of a field. Returns 0 when it is not there. */
int json_number(const char *text, uint32_t length, const char *name, int64_t *out);
int json_true(const char *text, uint32_t length, const char *name);
/* The strings of an array, one after the other, each with its NUL. Returns how many there are. */
int json_strings(const char *text, uint32_t length, const char *name, char *out, uint32_t room);

/* A JSON object in the making. */
struct answer {
    char text[2048];
    uint32_t length;
};
void answer_begin(struct answer *a);
void answer_string(struct answer *a, const char *name, const char *value);
void answer_number(struct answer *a, const char *name, int64_t value);
void answer_true(struct answer *a, const char *name);
/* `raw` is JSON. */
void answer_raw(struct answer *a, const char *name, const char *raw);
void answer_end(struct answer *a);
#endif
