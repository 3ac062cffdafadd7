/* The calls of an orchestration scenario, with fuse.hpp. */
#include "orchestration.h"

#include <cstdlib>
#include <cstring>
#include <fuse.hpp>
#include <map>
#include <optional>
#include <string>

namespace {

using text = std::string;
using called = fuse::result<text>;
using accepted = fuse::result<void>;

std::optional<fuse::orchestrator> plane;

char *copy(const text &from) {
    char *out = strdup(from.c_str());
    if (!out) driver_die("no memory");
    return out;
}

outcome outcome_of(called result) {
    return result.ok() ? outcome{FUSE_OK, copy(result.value())} : outcome{result.status(), copy(result.message())};
}

/* A call in its two forms. */
struct forms {
    called (*now)(const char *const *);
    accepted (*later)(const char *const *, fuse::completion);
};

uint64_t number(const char *digits) { return digits ? std::strtoull(digits, nullptr, 10) : 0; }
fuse::bytes_view bytes(const char *from) { return {reinterpret_cast<const uint8_t *>(from), std::strlen(from)}; }

#define ONE(name) {#name, {[](const char *const *a) { return plane->name(a[0]); }, \
                           [](const char *const *a, fuse::completion d) { return plane->name##_async(a[0], std::move(d)); }}}
#define TWO(name) {#name, {[](const char *const *a) { return plane->name(a[0], a[1]); }, \
                           [](const char *const *a, fuse::completion d) { return plane->name##_async(a[0], a[1], std::move(d)); }}}
/* What may be left out comes last, after the completion. */
#define MAYBE(name) {#name, {[](const char *const *a) { return plane->name(a[0]); }, \
                             [](const char *const *a, fuse::completion d) { return plane->name##_async(std::move(d), a[0]); }}}
#define ONE_MAYBE(name) {#name, {[](const char *const *a) { return plane->name(a[0], a[1]); }, \
                                 [](const char *const *a, fuse::completion d) { return plane->name##_async(a[0], std::move(d), a[1]); }}}
#define NONE(name) {#name, {[](const char *const *) { return plane->name(); }, \
                            [](const char *const *, fuse::completion d) { return plane->name##_async(std::move(d)); }}}
#define ONE_NUMBER(name, type) {#name, {[](const char *const *a) { return plane->name(a[0], static_cast<type>(number(a[1]))); }, \
                                        [](const char *const *a, fuse::completion d) { return plane->name##_async(a[0], static_cast<type>(number(a[1])), std::move(d)); }}}

const std::map<text, forms> calls = {
    ONE_MAYBE(provision), ONE_NUMBER(wait_running, uint64_t), ONE(get), MAYBE(list), ONE(drain), ONE(destroy), TWO(fork), TWO(exec),
    ONE_MAYBE(logs), ONE(rotate_token), ONE_MAYBE(create_snapshot), ONE(snapshot), MAYBE(snapshots), ONE(lineage),
    TWO(resolve_snapshot), ONE(restore_snapshot), ONE(delete_snapshot), ONE(register_host), ONE(host), MAYBE(hosts), ONE(cordon),
    ONE(uncordon), ONE_MAYBE(drain_host), ONE(host_drain), ONE_NUMBER(remove_host, uint32_t), NONE(dead_letters),
    ONE(retry_dead_letter), ONE(dismiss_dead_letter), MAYBE(create_api_key), NONE(api_keys), ONE(revoke_api_key),
    {"upload", {[](const char *const *a) { return plane->upload(a[0], a[1], static_cast<uint32_t>(number(a[2])), bytes(a[3])); },
                [](const char *const *a, fuse::completion d) {
                    return plane->upload_async(a[0], a[1], static_cast<uint32_t>(number(a[2])), bytes(a[3]), std::move(d));
                }}},
    {"check", {[](const char *const *a) { return plane->check(number(a[0])); },
               [](const char *const *a, fuse::completion d) { return plane->check_async(number(a[0]), std::move(d)); }}},
    {"newest_event", {[](const char *const *) -> called {
                          auto newest = plane->newest_event();
                          if (!newest.ok()) return {newest.status(), newest.message()};
                          return std::to_string(newest.value());
                      },
                      [](const char *const *, fuse::completion d) { return plane->newest_event_async(std::move(d)); }}},
};

} // namespace

extern "C" {

void call_take(fuse_orchestrator_t *handle, int old_is_useless) {
    /* What is useless is left as it is, as by the end of a process. */
    if (old_is_useless && plane) (void)new fuse::orchestrator(std::move(*plane));
    plane.reset();
    plane.emplace(fuse::orchestrator::adopt(handle));
}

outcome call_connect(const char *url, const char *token) {
    auto made = fuse::orchestrator::connect(url, token);
    if (!made.ok()) return {made.status(), copy(made.message())};
    plane.reset();
    plane.emplace(std::move(made).value());
    return {FUSE_OK, nullptr};
}

outcome call_make(const call *c) {
    const auto found = calls.find(c->name);
    if (found == calls.end()) driver_die(c->name);
    const forms &call = found->second;
    if (!c->later) return outcome_of(call.now(c->args));
    outcome told = {FUSE_OK, nullptr};
    const accepted begun = call.later(c->args, [&told](fuse_status_t status, std::string_view answer) {
        told = {status, copy(text(answer))};
        driver_told();
    });
    if (!begun.ok()) return {begun.status(), copy(begun.message())};
    driver_wait();
    return told;
}

outcome call_events(uint64_t after, uint64_t newest) {
    if (newest <= after) return {FUSE_OK, nullptr};
    uint64_t left = newest - after;
    text lines;
    std::optional<fuse::stream> held;
    const text query = "{\"after\":\"" + std::to_string(after) + "\"}";
    auto stream = plane->events(
        [&](fuse_status_t status, std::string_view frame) {
            if (left == 0) return;
            if (status != FUSE_OK) driver_die("the events broke off");
            lines.append(frame).append("\n");
            if (--left > 0) return;
            /* The callback goes with its stream: nothing of it is used afterwards. */
            std::optional<fuse::stream> *const mine = driver_is_still ? &held : nullptr;
            driver_told();
            if (mine) mine->reset();
        },
        query.c_str());
    if (!stream.ok()) return {stream.status(), copy(stream.message())};
    held.emplace(std::move(stream).value());
    driver_wait();
    held.reset();
    return {FUSE_OK, copy(lines)};
}

outcome call_close(void) {
    plane.reset();
    return {FUSE_OK, nullptr};
}
}
