/* frame_filter_test.c: frame_filter tested natively, without a runtime. Off wasm32 the macros of
 * fuse_module.h are plain functions: this file plays the host.
 *   cc -std=c11 -I../../../include -I../../modules -o frame_filter_test frame_filter_test.c frame_filter.c
 */
#include <stdio.h>
#include <string.h>

#include <fuse_module.h>

#include "frame_rle.h"

static uint8_t newest[FRAME_BYTES];
static int64_t newest_len;
static uint32_t posted; /* a bit for each event */
static char last_line[FUSE_LOG_TEXT_MAX + 1];

int64_t camera_last_frame(void *buffer, uint32_t max_len)
{
    int64_t len = newest_len < (int64_t)max_len ? newest_len : (int64_t)max_len;
    memcpy(buffer, newest, (size_t)len);
    return len;
}

void fuse_event_post(uint32_t event_id) { posted |= UINT32_C(1) << event_id; }

void module_log_event(const char *text, uint32_t len, uint32_t level)
{
    (void)level;
    memcpy(last_line, text, len);
    last_line[len] = '\0';
}

void module_step(void);
void module_deinit(void);

static int failed;

static void expect(const char *line, uint32_t events)
{
    if (strcmp(last_line, line) != 0 || posted != events) {
        fprintf(stderr, "expected \"%s\" and events %x, got \"%s\" and %x\n", line, events, last_line, posted);
        failed = 1;
    }
    posted = 0;
}

int main(void)
{
    module_step();
    expect("frame_filter: woken without a frame", 0);

    newest_len = FRAME_BYTES;
    memset(newest, 200, sizeof newest);
    module_step();
    expect("frame_filter: drop, variance 0", 0);

    /* Half 0, half 255: the largest variance that a frame can have, 127.5 squared. */
    memset(newest, 255, sizeof newest);
    memset(newest, 0, sizeof newest / 2);
    module_step();
    expect("frame_filter: keep, variance 16256", 1u << 1);

    /* On the threshold: half 49 above the other half is 24.5 squared = 600.25. */
    memset(newest, 10 + 49, sizeof newest);
    memset(newest, 10, sizeof newest / 2);
    module_step();
    expect("frame_filter: keep, variance 600", 1u << 1);

    /* Just below it: 24 squared. */
    memset(newest, 10 + 48, sizeof newest);
    memset(newest, 10, sizeof newest / 2);
    module_step();
    expect("frame_filter: drop, variance 576", 0);

    module_deinit();
    expect("frame_filter: kept 2 of 4", 0);
    printf("frame_filter_test: %s\n", failed ? "FAILED" : "6 checks passed");
    return failed;
}
