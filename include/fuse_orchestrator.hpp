/* fuse_orchestrator.hpp: the orchestration half of fuse.hpp, which includes it. Include that one.
 *
 *     fuse::orchestrator fuse = fuse::orchestrator::open("state").value();     // or open("state", "local")
 *     std::string environment = fuse.provision("{\"task_id\":\"t1\"}").value();
 */
#ifndef FUSE_RUNTIME_FUSE_ORCHESTRATOR_HPP
#define FUSE_RUNTIME_FUSE_ORCHESTRATOR_HPP

#ifndef FUSE_RUNTIME_FUSE_HPP
#error "include fuse.hpp"
#endif

namespace fuse {
inline namespace FUSE_HPP_NAMESPACE {

/* Learns how a call ended, on a thread of the library: the answer, or the error body of the REST API. It must not wait,
 * and must not throw: what it throws is lost. */
using completion = std::function<void(fuse_status_t, std::string_view)>;
/* Gets what a terminal shows: bytes, and at the end FUSE_END with the exit code. The rules of completion hold. */
using attach_callback = std::function<void(fuse_status_t, bytes_view, int32_t)>;

namespace detail {
inline void fuse_hpp_once(void *user, fuse_status_t status, const char *text, size_t length) {
    const std::unique_ptr<completion> done(static_cast<completion *>(user));
    (void)guarded([&] {
        (*done)(status, std::string_view(text, length));
        return 0;
    });
}
inline void fuse_hpp_each(void *user, fuse_status_t status, const char *text, size_t length) {
    (void)guarded([&] {
        (*static_cast<completion *>(user))(status, std::string_view(text, length));
        return 0;
    });
}
inline void fuse_hpp_attach(void *user, fuse_status_t status, const uint8_t *bytes, size_t length, int32_t exit_code) {
    (void)guarded([&] {
        (*static_cast<attach_callback *>(user))(status, bytes_view(bytes, length), exit_code);
        return 0;
    });
}
inline std::string take_string(char *text) {
    std::string out = text ? text : "";
    fuse_string_free(text);
    return out;
}
} // namespace detail

/* A stream of events or of a log; it ends with this. */
class stream {
  public:
    stream(stream &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    stream &operator=(stream &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    stream(const stream &) = delete;
    stream &operator=(const stream &) = delete;
    ~stream() { fuse_stream_close(handle_); }

  private:
    friend class orchestrator;
    explicit stream(fuse_stream_t *handle) noexcept : handle_(handle) {}
    fuse_stream_t *handle_;
};

/* A terminal in an environment; it is closed with this. */
class terminal {
  public:
    terminal(terminal &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    terminal &operator=(terminal &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    terminal(const terminal &) = delete;
    terminal &operator=(const terminal &) = delete;
    ~terminal() { fuse_attach_close(handle_); }

    /* FUSE_OK, or FUSE_END when the program has ended. */
    fuse_status_t write(bytes_view bytes) { return fuse_attach_write(handle_, bytes.data(), bytes.size()); }
    fuse_status_t resize(uint32_t rows, uint32_t cols) { return fuse_attach_resize(handle_, rows, cols); }

  private:
    friend class orchestrator;
    explicit terminal(fuse_attach_t *handle) noexcept : handle_(handle) {}
    fuse_attach_t *handle_;
};

/* A control plane for microVM sandboxes, in this process or behind the REST API; any thread may use it. Requests and
 * answers are the JSON of the REST API, an empty text where there is none; the message of a failure is its error body.
 * What each call does is in fuse.h, under fuse_orchestrator_ and its name. */
class orchestrator {
  public:
    static result<orchestrator> in_memory() {
        return make([](fuse_orchestrator_t **out, char *error, size_t capacity) {
            return fuse_orchestrator_in_memory(out, error, capacity);
        });
    }
    static result<orchestrator> open(const std::string &directory) {
        return make([&](fuse_orchestrator_t **out, char *error, size_t capacity) {
            return fuse_orchestrator_open(directory.c_str(), out, error, capacity);
        });
    }
    /* `provider` is "auto", "local" or "stub"; `host_data` the folder of this machine's VMs and images. */
    static result<orchestrator> open(const std::string &directory, const char *provider, const char *host_data = nullptr) {
        return make([&](fuse_orchestrator_t **out, char *error, size_t capacity) {
            fuse_open_options_t options = FUSE_OPEN_OPTIONS_INIT;
            options.provider = provider;
            options.host_data = host_data;
            return fuse_orchestrator_open_with(directory.c_str(), &options, out, error, capacity);
        });
    }
    static result<orchestrator> connect(const std::string &url, const char *token = nullptr) {
        return make([&](fuse_orchestrator_t **out, char *error, size_t capacity) {
            return fuse_orchestrator_connect(url.c_str(), token, out, error, capacity);
        });
    }
    /* Takes over a handle of fuse.h: it is closed with this. */
    static orchestrator adopt(fuse_orchestrator_t *handle) noexcept { return orchestrator(handle); }
    orchestrator(orchestrator &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    orchestrator &operator=(orchestrator &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    orchestrator(const orchestrator &) = delete;
    orchestrator &operator=(const orchestrator &) = delete;
    ~orchestrator() { fuse_orchestrator_close(handle_); }

    fuse_orchestrator_t *get() const noexcept { return handle_; }

    /* What runs its environments; an empty text when it is behind the REST API. */
    result<std::string> provider() const {
        return call([&](char **out) { return fuse_orchestrator_provider(handle_, out); });
    }
    result<std::string> provision(const std::string &request, const char *key = nullptr) {
        return call([&](char **out) { return fuse_orchestrator_provision(handle_, request.c_str(), key, out); });
    }
    result<void> provision_async(const std::string &request, completion done, const char *key = nullptr) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_provision_async(handle_, request.c_str(), key, tell, user);
        });
    }
    result<std::string> wait_running(const std::string &id, uint64_t limit_ms) {
        return call([&](char **out) { return fuse_orchestrator_wait_running(handle_, id.c_str(), limit_ms, out); });
    }
    result<void> wait_running_async(const std::string &id, uint64_t limit_ms, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_wait_running_async(handle_, id.c_str(), limit_ms, tell, user);
        });
    }
    result<std::string> get(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_get(handle_, id.c_str(), out); });
    }
    result<void> get_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_get_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> list(const char *query = nullptr) {
        return call([&](char **out) { return fuse_orchestrator_list(handle_, query, out); });
    }
    result<void> list_async(completion done, const char *query = nullptr) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_list_async(handle_, query, tell, user);
        });
    }
    result<std::string> drain(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_drain(handle_, id.c_str(), out); });
    }
    result<void> drain_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_drain_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> destroy(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_destroy(handle_, id.c_str(), out); });
    }
    result<void> destroy_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_destroy_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> fork(const std::string &id, const std::string &request) {
        return call([&](char **out) { return fuse_orchestrator_fork(handle_, id.c_str(), request.c_str(), out); });
    }
    result<void> fork_async(const std::string &id, const std::string &request, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_fork_async(handle_, id.c_str(), request.c_str(), tell, user);
        });
    }
    result<std::string> exec(const std::string &id, const std::string &request) {
        return call([&](char **out) { return fuse_orchestrator_exec(handle_, id.c_str(), request.c_str(), out); });
    }
    result<void> exec_async(const std::string &id, const std::string &request, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_exec_async(handle_, id.c_str(), request.c_str(), tell, user);
        });
    }
    result<std::string> upload(const std::string &id, const std::string &path, uint32_t mode, bytes_view bytes) {
        return call([&](char **out) { return fuse_orchestrator_upload(handle_, id.c_str(), path.c_str(), mode, bytes.data(), bytes.size(), out); });
    }
    result<void> upload_async(const std::string &id, const std::string &path, uint32_t mode, bytes_view bytes, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_upload_async(handle_, id.c_str(), path.c_str(), mode, bytes.data(), bytes.size(), tell, user);
        });
    }
    result<std::string> logs(const std::string &id, const char *source = nullptr) {
        return call([&](char **out) { return fuse_orchestrator_logs(handle_, id.c_str(), source, out); });
    }
    result<void> logs_async(const std::string &id, completion done, const char *source = nullptr) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_logs_async(handle_, id.c_str(), source, tell, user);
        });
    }
    result<std::string> rotate_token(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_rotate_token(handle_, id.c_str(), out); });
    }
    result<void> rotate_token_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_rotate_token_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> create_snapshot(const std::string &id, const char *request = nullptr) {
        return call([&](char **out) { return fuse_orchestrator_create_snapshot(handle_, id.c_str(), request, out); });
    }
    result<void> create_snapshot_async(const std::string &id, completion done, const char *request = nullptr) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_create_snapshot_async(handle_, id.c_str(), request, tell, user);
        });
    }
    result<std::string> snapshot(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_snapshot(handle_, id.c_str(), out); });
    }
    result<void> snapshot_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_snapshot_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> snapshots(const char *query = nullptr) {
        return call([&](char **out) { return fuse_orchestrator_snapshots(handle_, query, out); });
    }
    result<void> snapshots_async(completion done, const char *query = nullptr) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_snapshots_async(handle_, query, tell, user);
        });
    }
    result<std::string> lineage(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_lineage(handle_, id.c_str(), out); });
    }
    result<void> lineage_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_lineage_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> resolve_snapshot(const std::string &layer_key, const std::string &arch) {
        return call([&](char **out) { return fuse_orchestrator_resolve_snapshot(handle_, layer_key.c_str(), arch.c_str(), out); });
    }
    result<void> resolve_snapshot_async(const std::string &layer_key, const std::string &arch, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_resolve_snapshot_async(handle_, layer_key.c_str(), arch.c_str(), tell, user);
        });
    }
    result<std::string> restore_snapshot(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_restore_snapshot(handle_, id.c_str(), out); });
    }
    result<void> restore_snapshot_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_restore_snapshot_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> delete_snapshot(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_delete_snapshot(handle_, id.c_str(), out); });
    }
    result<void> delete_snapshot_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_delete_snapshot_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> register_host(const std::string &request) {
        return call([&](char **out) { return fuse_orchestrator_register_host(handle_, request.c_str(), out); });
    }
    result<void> register_host_async(const std::string &request, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_register_host_async(handle_, request.c_str(), tell, user);
        });
    }
    result<std::string> host(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_host(handle_, id.c_str(), out); });
    }
    result<void> host_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_host_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> hosts(const char *query = nullptr) {
        return call([&](char **out) { return fuse_orchestrator_hosts(handle_, query, out); });
    }
    result<void> hosts_async(completion done, const char *query = nullptr) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_hosts_async(handle_, query, tell, user);
        });
    }
    result<std::string> cordon(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_cordon(handle_, id.c_str(), out); });
    }
    result<void> cordon_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_cordon_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> uncordon(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_uncordon(handle_, id.c_str(), out); });
    }
    result<void> uncordon_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_uncordon_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> drain_host(const std::string &id, const char *query = nullptr) {
        return call([&](char **out) { return fuse_orchestrator_drain_host(handle_, id.c_str(), query, out); });
    }
    result<void> drain_host_async(const std::string &id, completion done, const char *query = nullptr) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_drain_host_async(handle_, id.c_str(), query, tell, user);
        });
    }
    /* An empty text when nobody asked for it. */
    result<std::string> host_drain(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_host_drain(handle_, id.c_str(), out); });
    }
    result<void> host_drain_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_host_drain_async(handle_, id.c_str(), tell, user);
        });
    }
    result<std::string> remove_host(const std::string &id, uint32_t force) {
        return call([&](char **out) { return fuse_orchestrator_remove_host(handle_, id.c_str(), force, out); });
    }
    result<void> remove_host_async(const std::string &id, uint32_t force, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_remove_host_async(handle_, id.c_str(), force, tell, user);
        });
    }
    result<std::string> dead_letters() {
        return call([&](char **out) { return fuse_orchestrator_dead_letters(handle_, out); });
    }
    result<void> dead_letters_async(completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_dead_letters_async(handle_, tell, user);
        });
    }
    result<std::string> retry_dead_letter(const std::string &key) {
        return call([&](char **out) { return fuse_orchestrator_retry_dead_letter(handle_, key.c_str(), out); });
    }
    result<void> retry_dead_letter_async(const std::string &key, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_retry_dead_letter_async(handle_, key.c_str(), tell, user);
        });
    }
    result<std::string> dismiss_dead_letter(const std::string &key) {
        return call([&](char **out) { return fuse_orchestrator_dismiss_dead_letter(handle_, key.c_str(), out); });
    }
    result<void> dismiss_dead_letter_async(const std::string &key, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_dismiss_dead_letter_async(handle_, key.c_str(), tell, user);
        });
    }
    result<std::string> check(uint64_t limit_ms) {
        return call([&](char **out) { return fuse_orchestrator_check(handle_, limit_ms, out); });
    }
    result<void> check_async(uint64_t limit_ms, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_check_async(handle_, limit_ms, tell, user);
        });
    }
    result<std::string> create_api_key(const char *request = nullptr) {
        return call([&](char **out) { return fuse_orchestrator_create_api_key(handle_, request, out); });
    }
    result<void> create_api_key_async(completion done, const char *request = nullptr) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_create_api_key_async(handle_, request, tell, user);
        });
    }
    result<std::string> api_keys() {
        return call([&](char **out) { return fuse_orchestrator_api_keys(handle_, out); });
    }
    result<void> api_keys_async(completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_api_keys_async(handle_, tell, user);
        });
    }
    result<std::string> revoke_api_key(const std::string &id) {
        return call([&](char **out) { return fuse_orchestrator_revoke_api_key(handle_, id.c_str(), out); });
    }
    result<void> revoke_api_key_async(const std::string &id, completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_revoke_api_key_async(handle_, id.c_str(), tell, user);
        });
    }
    result<uint64_t> newest_event() {
        uint64_t out = 0;
        const fuse_status_t status = fuse_orchestrator_newest_event(handle_, &out);
        if (status != FUSE_OK) return {status, detail::last_error(handle_)};
        return out;
    }
    result<void> newest_event_async(completion done) {
        return later(std::move(done), [&](fuse_completion_fn tell, void *user) {
            return fuse_orchestrator_newest_event_async(handle_, tell, user);
        });
    }
    result<stream> events(completion each, const char *query = nullptr) {
        fuse_stream_t *handle = nullptr;
        char *error = nullptr;
        const fuse_status_t status =
            fuse_orchestrator_events(handle_, query, detail::fuse_hpp_each, new completion(std::move(each)),
                                     detail::destroy<completion>, &handle, &error);
        if (status != FUSE_OK) return {status, detail::take_string(error)};
        return stream(handle);
    }
    result<stream> follow_logs(const std::string &id, completion each, const char *source = nullptr) {
        fuse_stream_t *handle = nullptr;
        char *error = nullptr;
        const fuse_status_t status =
            fuse_orchestrator_follow_logs(handle_, id.c_str(), source, detail::fuse_hpp_each,
                                          new completion(std::move(each)), detail::destroy<completion>, &handle, &error);
        if (status != FUSE_OK) return {status, detail::take_string(error)};
        return stream(handle);
    }
    result<terminal> attach(const std::string &id, attach_callback output, const char *request = nullptr) {
        fuse_attach_t *handle = nullptr;
        char *error = nullptr;
        const fuse_status_t status = fuse_orchestrator_attach(handle_, id.c_str(), request, detail::fuse_hpp_attach,
                                                              new attach_callback(std::move(output)),
                                                              detail::destroy<attach_callback>, &handle, &error);
        if (status != FUSE_OK) return {status, detail::take_string(error)};
        return terminal(handle);
    }

  private:
    explicit orchestrator(fuse_orchestrator_t *handle) noexcept : handle_(handle) {}

    template <class F> static result<orchestrator> make(F &&open) {
        fuse_orchestrator_t *handle = nullptr;
        char error[1040];
        const fuse_status_t status = open(&handle, error, sizeof error);
        if (status != FUSE_OK) return {status, error};
        return orchestrator(handle);
    }
    template <class F> result<std::string> call(F &&work) const {
        char *out = nullptr;
        const fuse_status_t status = work(&out);
        std::string text = detail::take_string(out);
        if (status != FUSE_OK) return {status, std::move(text)};
        return text;
    }
    template <class F> result<void> later(completion done, F &&work) {
        auto kept = std::make_unique<completion>(std::move(done));
        const fuse_status_t status = work(detail::fuse_hpp_once, kept.get());
        if (status != FUSE_OK) return {status, detail::last_error(handle_)};
        (void)kept.release();
        return {};
    }

    fuse_orchestrator_t *handle_;
};

} // namespace FUSE_HPP_NAMESPACE
} // namespace fuse

#endif /* FUSE_RUNTIME_FUSE_ORCHESTRATOR_HPP */
