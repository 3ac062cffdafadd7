/* Decodes packets (the format is described in examples/modules/frame_rle.h) and writes the summary. */
#include "frames.h"
#include "sha256.h"

#include <string.h>

enum { HEADER = 12, GROUP = 8 };

static int median(int left, int above, int corner) {
    int low = left < above ? left : above, high = left < above ? above : left;
    int sum = left + above - corner;
    return sum < low ? low : sum > high ? high : sum;
}

static uint8_t predict(const uint8_t *pixels, size_t at) {
    size_t x = at % FRAME_WIDTH, y = at / FRAME_WIDTH;
    if (at == 0) return 0;
    if (y == 0) return pixels[at - 1];
    if (x == 0) return pixels[at - FRAME_WIDTH];
    return (uint8_t)median(pixels[at - 1], pixels[at - FRAME_WIDTH], pixels[at - FRAME_WIDTH - 1]);
}

/* Says what is wrong with a packet, or NULL when the frame came out of it. */
static const char *decode(const uint8_t *packet, size_t length, uint8_t pixels[FRAME_BYTES]) {
    static const uint8_t head[8] = {'F', 'R', 'L', '1', FRAME_WIDTH & 255, FRAME_WIDTH >> 8, FRAME_HEIGHT, 0};
    if (length < HEADER || memcmp(packet, head, sizeof head) != 0) return "not a frame packet";
    size_t announced = packet[8] | (size_t)packet[9] << 8 | (size_t)packet[10] << 16 | (size_t)packet[11] << 24;
    if (announced != length - HEADER) return "wrong length";
    size_t at = HEADER, done = 0;
    while (done < FRAME_BYTES) {
        if (at >= length) return "truncated";
        unsigned width = packet[at] >> 4, groups = (packet[at] & 15u) + 1;
        at++;
        if (width > 8 || (size_t)groups * width > length - at || groups * GROUP > FRAME_BYTES - done) return "bad run";
        for (unsigned group = 0; group < groups; group++, at += width) {
            uint64_t bits = 0;
            for (unsigned byte = 0; byte < width; byte++) bits |= (uint64_t)packet[at + byte] << 8 * byte;
            for (unsigned i = 0; i < GROUP; i++, done++) {
                uint8_t folded = (uint8_t)(bits >> i * width & ((1u << width) - 1));
                uint8_t difference = folded & 1 ? (uint8_t)~(folded >> 1) : (uint8_t)(folded >> 1);
                pixels[done] = (uint8_t)(predict(pixels, done) + difference);
            }
        }
    }
    return at == length ? NULL : "bytes are left";
}

int report_begin(struct report *report, const char *out) {
    char path[4096];
    memset(report, 0, sizeof *report);
    snprintf(path, sizeof path, "%s/summary.tsv", out);
    report->summary = fopen(path, "w");
    if (!report->summary) {
        perror(path);
        return 0;
    }
    fprintf(report->summary, "frame\tverdict\twhy\tbytes_in\tbytes_out\tpacket_sha256\n");
    printf("%5s  %-8s %-16s %7s %7s\n", "frame", "verdict", "why", "in", "out");
    return 1;
}

void report_add(struct report *report, uint32_t number, const uint8_t *frame, const struct outcome *outcome) {
    static uint8_t back[FRAME_BYTES];
    const char *verdict = "dropped", *why = outcome->why, *wrong = NULL;
    char digest[17] = "-";
    if (outcome->packet) {
        wrong = decode(outcome->packet, outcome->packet_length, back);
        if (!wrong && memcmp(back, frame, FRAME_BYTES) != 0) wrong = "differs";
        verdict = wrong ? "failed" : "kept";
        if (wrong) why = wrong;
        uint8_t hash[32];
        sha256(outcome->packet, outcome->packet_length, hash);
        for (int i = 0; i < 8; i++) sprintf(digest + 2 * i, "%02x", hash[i]);
    }
    report->dropped += outcome->packet == NULL;
    report->failed += outcome->packet && wrong;
    report->kept += outcome->packet && !wrong;
    fprintf(report->summary, "%u\t%s\t%s\t%u\t%zu\t%s\n", number, verdict, why, FRAME_BYTES, outcome->packet_length,
            digest);
    printf("%5u  %-8s %-16s %7u %7zu\n", number, verdict, why, FRAME_BYTES, outcome->packet_length);
}

int report_end(struct report *report) {
    printf("%u sent and back byte for byte, %u kept back, %u failed\n", report->kept, report->dropped, report->failed);
    return fclose(report->summary) == 0;
}
