/* Runs one artifact on the runtime that was built without std. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static size_t allocations;
static uint64_t now_us;
static void *tls[2];

void *host_alloc(size_t size, size_t align) {
    void *start = NULL;
    allocations++;
    if (align < sizeof(void *)) align = sizeof(void *);
    return posix_memalign(&start, align, size) ? NULL : start;
}
void host_free(void *start) { free(start); }
void host_panic(void) { abort(); }
uint64_t host_time_us(void) { return now_us; }
void host_say(const char *text, size_t len) { fprintf(stderr, "no-std: %.*s\n", (int)len, text); }

/* What a bare machine would do with its memory protection unit, if it has one. */
int host_protect(const uint8_t *start, size_t len, int executable) {
    return mprotect((void *)start, len, PROT_READ | (executable ? PROT_EXEC : PROT_WRITE));
}

/* One thread: the engine's thread-local pointers are plain variables. */
void *wasmtime_tls_get(size_t slot) { return tls[slot]; }
void wasmtime_tls_set(size_t slot, void *value) { tls[slot] = value; }

void *check_open(const uint8_t *artifact, size_t artifact_len, const uint8_t *policy, size_t policy_len);
int check_tick(void *runtime);
int check_close(void *runtime);

int main(int argc, char **argv) {
    static uint8_t artifact[1 << 20];
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file) return fprintf(stderr, "usage: %s ARTIFACT\n", argv[0]), 2;
    size_t len = fread(artifact, 1, sizeof artifact, file);
    fclose(file);

    /* TEMP_SENSOR, 1 page, 8 KiB of stack, no heap, no quota, every 1000 us, INTERVAL, no events */
    uint32_t policy[8] = {1, 1, 8192, 0, 0, 1000, 1, 0};
    void *runtime = check_open(artifact, len, (const uint8_t *)policy, sizeof policy);
    if (!runtime) return fprintf(stderr, "the artifact was refused\n"), 1;
    if (check_tick(runtime) != 1) return fprintf(stderr, "the first tick ran nothing\n"), 1;
    if (check_tick(runtime) != 0) return fprintf(stderr, "it ran before its interval\n"), 1;
    size_t before = allocations;
    for (int i = 0; i < 100000; i++) {
        now_us += 1000;
        if (check_tick(runtime) != 1) return fprintf(stderr, "tick %d ran nothing\n", i), 1;
    }
    if (allocations != before) return fprintf(stderr, "ticks allocated\n"), 1;
    artifact[len / 2] ^= 1;
    if (check_open(artifact, len, (const uint8_t *)policy, sizeof policy)) return fprintf(stderr, "damage was not seen\n"), 1;
    if (!check_close(runtime)) return fprintf(stderr, "close failed\n"), 1;
    puts("no-std: loaded, 100000 ticks without an allocation, damage refused");
    return 0;
}
