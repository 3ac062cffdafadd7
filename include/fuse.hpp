/* fuse.hpp: Fuse for C++17. Header-only, over fuse.h: handles that close themselves, views, lambdas as callbacks.
 *
 *     fuse::runtime runtime = fuse::runtime::make().value();
 *     runtime.set_temp([] { return 21.5f; });
 *     fuse::policy policy;
 *     policy.capabilities = FUSE_CAP_TEMP_SENSOR;
 *     fuse_module_id_t id = runtime.load("hello", artifact, policy).value();
 *     runtime.start(id).value();
 *     for (const auto &outcome : runtime.tick().value()) ...
 *
 * Every call returns a fuse::result: ask it with ok(), status() and message(), or take value(), which throws fuse::error
 * when the call failed. Built without exceptions (-fno-exceptions, or FUSE_NO_EXCEPTIONS defined), value() of a failed
 * call ends the program; nothing else differs.
 *
 * Callbacks may throw: the exception ends in the wrapper and the module traps, with the code of a fuse::hal_fault or
 * with FUSE_HAL_CALLBACK_THREW. What holds for threads and re-entry is in fuse.h.
 */
#ifndef FUSE_RUNTIME_FUSE_HPP
#define FUSE_RUNTIME_FUSE_HPP

#include "fuse.h"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if !defined(FUSE_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define FUSE_NO_EXCEPTIONS
#endif
#ifdef FUSE_NO_EXCEPTIONS
#define FUSE_HPP_NAMESPACE without_exceptions
#else
#include <stdexcept>
#define FUSE_HPP_NAMESPACE with_exceptions
#endif

namespace fuse {
/* Translation units with and without exceptions may be linked together: their types differ. */
inline namespace FUSE_HPP_NAMESPACE {

/* ---- Results ------------------------------------------------------------------------------------------------------ */

#ifndef FUSE_NO_EXCEPTIONS
/* A call failed: what() says what was tried, on what, why, and what to do. */
class error : public std::runtime_error {
  public:
    error(fuse_status_t status, const std::string &message) : std::runtime_error(message), status_(status) {}
    fuse_status_t status() const noexcept { return status_; }

  private:
    fuse_status_t status_;
};

/* Thrown by a callback: the module that called traps with this code. */
struct hal_fault {
    int32_t code;
};
#endif

namespace detail {
[[noreturn]] inline void fail(fuse_status_t status, const std::string &message) {
#ifdef FUSE_NO_EXCEPTIONS
    std::fprintf(stderr, "fuse: %s: %s\n", fuse_status_name(status), message.c_str());
    std::abort();
#else
    throw error(status, message.empty() ? fuse_status_name(status) : message);
#endif
}

/* The text of the last failure on a handle. */
inline std::string last_error(const void *handle) {
    char text[1040];
    return fuse_last_error(handle, text, sizeof text, nullptr) == FUSE_OK ? std::string(text) : std::string();
}
} // namespace detail

/* What a call came to: a value, or a status with its text. */
template <class T> class [[nodiscard]] result {
  public:
    result(T value) : value_(std::move(value)) {}
    result(fuse_status_t status, std::string message) : status_(status), message_(std::move(message)) {}

    bool ok() const noexcept { return value_.has_value(); }
    explicit operator bool() const noexcept { return ok(); }
    fuse_status_t status() const noexcept { return status_; }
    const std::string &message() const noexcept { return message_; }

    /* The value; throws (or ends the program) when the call failed. */
    T &value() & {
        if (!ok()) detail::fail(status_, message_);
        return *value_;
    }
    T value() && {
        if (!ok()) detail::fail(status_, message_);
        return std::move(*value_);
    }

  private:
    std::optional<T> value_;
    fuse_status_t status_ = FUSE_OK;
    std::string message_;
};

template <> class [[nodiscard]] result<void> {
  public:
    result() = default;
    result(fuse_status_t status, std::string message) : status_(status), message_(std::move(message)) {}

    bool ok() const noexcept { return status_ == FUSE_OK; }
    explicit operator bool() const noexcept { return ok(); }
    fuse_status_t status() const noexcept { return status_; }
    const std::string &message() const noexcept { return message_; }
    /* Throws (or ends the program) when the call failed. */
    void value() const {
        if (!ok()) detail::fail(status_, message_);
    }

  private:
    fuse_status_t status_ = FUSE_OK;
    std::string message_;
};

/* ---- Views -------------------------------------------------------------------------------------------------------- */

/* Elements that somebody else owns. */
template <class T> class view {
  public:
    constexpr view() noexcept = default;
    constexpr view(T *data, size_t size) noexcept : data_(data), size_(size) {}
    template <size_t N> constexpr view(T (&array)[N]) noexcept : data_(array), size_(N) {}
    template <class C, class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<C &>().data()), T *>>>
    constexpr view(C &&container) noexcept : data_(container.data()), size_(container.size()) {}

    constexpr T *data() const noexcept { return data_; }
    constexpr size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](size_t index) const noexcept { return data_[index]; }

  private:
    T *data_ = nullptr;
    size_t size_ = 0;
};

using bytes_view = view<const uint8_t>;
using bytes_span = view<uint8_t>;

/* The bytes of a text, such as a module in .wat. */
inline bytes_view bytes_of(std::string_view text) noexcept {
    return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

/* ---- Policies and applications ------------------------------------------------------------------------------------ */

/* The fields of fuse_policy_t, beginning as FUSE_POLICY_INIT. */
struct policy : fuse_policy_t {
    policy() noexcept : fuse_policy_t(FUSE_POLICY_INIT) {}
    policy(const fuse_policy_t &fields) noexcept : fuse_policy_t(fields) {}

    /* Reads the 32 bytes of the binary form. */
    static result<policy> from_bytes(bytes_view bytes) {
        policy out;
        char error[1040];
        const fuse_status_t status = fuse_policy_from_bytes(bytes.data(), bytes.size(), &out, error, sizeof error);
        if (status != FUSE_OK) return {status, error};
        return out;
    }

    /* Reads JSON. Full build only. */
    static result<policy> from_json(std::string_view json) {
        policy out;
        char error[1040];
        const fuse_status_t status = fuse_policy_from_json(json.data(), json.size(), &out, error, sizeof error);
        if (status != FUSE_OK) return {status, error};
        return out;
    }

    result<std::vector<uint8_t>> to_bytes() const {
        std::vector<uint8_t> out(FUSE_POLICY_BYTES);
        const fuse_status_t status = fuse_policy_to_bytes(this, out.data(), out.size(), nullptr);
        if (status != FUSE_OK) return {status, "the policy is not valid"};
        return out;
    }
};

/* An application configuration. */
class app {
  public:
    app(app &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    app &operator=(app &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    app(const app &) = delete;
    app &operator=(const app &) = delete;
    ~app() { fuse_app_close(handle_); }

    /* Reads app_config.json. Full build only. */
    static result<app> from_json(std::string_view json) {
        fuse_app_t *handle = nullptr;
        char error[1040];
        const fuse_status_t status = fuse_app_from_json(json.data(), json.size(), &handle, error, sizeof error);
        if (status != FUSE_OK) return {status, error};
        return app(handle);
    }

    /* Reads the binary form. */
    static result<app> from_binary(bytes_view bytes) {
        fuse_app_t *handle = nullptr;
        char error[1040];
        const fuse_status_t status = fuse_app_from_binary(bytes.data(), bytes.size(), &handle, error, sizeof error);
        if (status != FUSE_OK) return {status, error};
        return app(handle);
    }

    result<std::vector<uint8_t>> to_binary() const {
        size_t length = 0;
        fuse_status_t status = fuse_app_to_binary(handle_, nullptr, 0, &length);
        std::vector<uint8_t> out(length);
        if (status == FUSE_ERR_BUFFER_TOO_SMALL) status = fuse_app_to_binary(handle_, out.data(), out.size(), &length);
        if (status != FUSE_OK) return {status, detail::last_error(handle_)};
        return out;
    }

    result<fuse_app_info_t> info() const {
        fuse_app_info_t out = FUSE_APP_INFO_INIT;
        const fuse_status_t status = fuse_app_info(handle_, &out);
        return take(status, out);
    }

    /* The id of an event. */
    result<uint32_t> event(const std::string &name) const {
        uint32_t out = 0;
        const fuse_status_t status = fuse_app_event(handle_, name.c_str(), &out);
        return take(status, out);
    }

    /* One of the modules, in load order: name, and whether its artifact is carried. */
    result<fuse_app_module_t> module(uint32_t index) const {
        fuse_app_module_t out = FUSE_APP_MODULE_INIT;
        const fuse_status_t status = fuse_app_module(handle_, index, &out);
        return take(status, out);
    }

    result<policy> module_policy(uint32_t index) const {
        policy out;
        const fuse_status_t status = fuse_app_module_policy(handle_, index, &out);
        return take(status, out);
    }

    /* Where the configuration says that the artifact of a module is. */
    result<std::string> module_binary(uint32_t index) const {
        size_t length = 0;
        fuse_status_t status = fuse_app_module_binary(handle_, index, nullptr, 0, &length);
        std::string out(length, '\0');
        if (status == FUSE_ERR_BUFFER_TOO_SMALL)
            status = fuse_app_module_binary(handle_, index, out.data(), out.size(), nullptr);
        if (!out.empty()) out.pop_back();
        return take(status, std::move(out));
    }

    /* Puts an artifact into the application, so that the binary form carries it. */
    result<void> set_artifact(uint32_t index, bytes_view artifact) {
        const fuse_status_t status = fuse_app_set_artifact(handle_, index, artifact.data(), artifact.size());
        if (status != FUSE_OK) return {status, detail::last_error(handle_)};
        return {};
    }

    fuse_app_t *get() const noexcept { return handle_; }

  private:
    explicit app(fuse_app_t *handle) noexcept : handle_(handle) {}

    template <class T> result<T> take(fuse_status_t status, T value) const {
        if (status != FUSE_OK) return {status, detail::last_error(handle_)};
        return value;
    }

    fuse_app_t *handle_;
};

/* ---- Artifacts ---------------------------------------------------------------------------------------------------- */

/* Looks into an artifact. */
inline result<fuse_artifact_info_t> inspect(bytes_view artifact) {
    fuse_artifact_info_t out = FUSE_ARTIFACT_INFO_INIT;
    char error[1040];
    const fuse_status_t status = fuse_artifact_inspect(artifact.data(), artifact.size(), &out, error, sizeof error);
    if (status != FUSE_OK) return {status, error};
    return out;
}

/* The fields of fuse_compile_options_t, beginning as FUSE_COMPILE_OPTIONS_INIT. */
struct compile_options : fuse_compile_options_t {
    compile_options() noexcept : fuse_compile_options_t(FUSE_COMPILE_OPTIONS_INIT) {}
};

/* Compiles a module (.wasm or .wat). Full build only. */
inline result<std::vector<uint8_t>> compile(bytes_view source, const compile_options &options = compile_options()) {
    uint8_t *start = nullptr;
    size_t length = 0;
    char error[1040];
    const fuse_status_t status =
        fuse_compile(source.data(), source.size(), &options, &start, &length, error, sizeof error);
    if (status != FUSE_OK) return {status, error};
    std::vector<uint8_t> out(start, start + length);
    fuse_bytes_free(start, length);
    return out;
}

/* ---- Platform ----------------------------------------------------------------------------------------------------- */

/* The machine under a runtime. The functions are called on the thread that uses the runtime. */
class platform {
  public:
    virtual ~platform() = default;
    /* Called once; `expiry` is for the handler of the quota timer. Anything but 0 is a failure. */
    virtual int32_t init(const fuse_quota_expiry_t *expiry) {
        (void)expiry;
        return 0;
    }
    /* Time in microseconds from any fixed point. */
    virtual uint64_t timestamp_us() = 0;
    /* Whether quota_arm and quota_cancel do something. */
    virtual bool has_quota_timer() const { return false; }
    virtual void quota_arm(uint32_t quota_us, uint64_t token) {
        (void)quota_us;
        (void)token;
    }
    virtual void quota_cancel() {}
    /* FUSE_PLATFORM_ bits. */
    virtual uint32_t flags() const { return 0; }
    /* Resolution of the quota timer. */
    virtual uint32_t quota_resolution_us() const { return 0; }
};

/* ---- HAL ---------------------------------------------------------------------------------------------------------- */

/* What a callback gives: a value, or the code of a failure that the module traps with. */
template <class T> struct hal {
    T value{};
    int32_t code = 0;
    hal(T given) : value(std::move(given)) {}
    static hal fault(int32_t code) {
        hal out{T{}};
        out.code = code;
        return out;
    }
};

/* One call of a host function, while its callback runs. Parameters are counted from 0, a buffer as one. */
class hal_call {
  public:
    explicit hal_call(fuse_hal_call_t *call) noexcept : call_(call) {}

    fuse_module_id_t module() const noexcept {
        fuse_module_id_t out = 0;
        fuse_hal_call_module(call_, &out);
        return out;
    }
    /* The number at a parameter; 0 when it is of another type. */
    int32_t i32(size_t param) const noexcept {
        int32_t out = 0;
        fuse_hal_call_i32(call_, param, &out);
        return out;
    }
    int64_t i64(size_t param) const noexcept {
        int64_t out = 0;
        fuse_hal_call_i64(call_, param, &out);
        return out;
    }
    float f32(size_t param) const noexcept {
        float out = 0;
        fuse_hal_call_f32(call_, param, &out);
        return out;
    }
    double f64(size_t param) const noexcept {
        double out = 0;
        fuse_hal_call_f64(call_, param, &out);
        return out;
    }
    /* The bytes of a buffer that the host may read; empty for another parameter. */
    bytes_view input(size_t param) const noexcept {
        const uint8_t *start = nullptr;
        size_t length = 0;
        fuse_hal_call_input(call_, param, &start, &length);
        return {start, length};
    }
    /* The bytes of a buffer that the host may write; empty for another parameter. */
    bytes_span output(size_t param) const noexcept {
        uint8_t *start = nullptr;
        size_t length = 0;
        fuse_hal_call_output(call_, param, &start, &length);
        return {start, length};
    }
    /* Sets the result; it must have the type of the signature. */
    void returns(int32_t value) noexcept { fuse_hal_call_return_i32(call_, value); }
    void returns(int64_t value) noexcept { fuse_hal_call_return_i64(call_, value); }
    void returns(float value) noexcept { fuse_hal_call_return_f32(call_, value); }
    void returns(double value) noexcept { fuse_hal_call_return_f64(call_, value); }

  private:
    fuse_hal_call_t *call_;
};

using temp_callback = std::function<hal<float>()>;
using timer_callback = std::function<hal<int64_t>()>;
/* Writes the newest frame and gives how many bytes it wrote. */
using camera_callback = std::function<hal<size_t>(bytes_span)>;
/* Gives 0, or the code of a failure. */
using hal_callback = std::function<int32_t(hal_call &)>;
using log_callback = std::function<void(const fuse_log_record_t &)>;
/* Gives the artifact of a module of an application (name, binary); the bytes stay until it is called again. */
using fetch_callback = std::function<result<bytes_view>(const char *name, const char *binary)>;

namespace detail {
/* Runs a callback; no exception leaves. */
template <class F> int32_t guarded(F &&callback) noexcept {
#ifdef FUSE_NO_EXCEPTIONS
    return callback();
#else
    try {
        return callback();
    } catch (const hal_fault &fault) {
        return fault.code == 0 ? FUSE_HAL_CALLBACK_THREW : fault.code;
    } catch (...) {
        return FUSE_HAL_CALLBACK_THREW;
    }
#endif
}

template <class F> void destroy(void *user) { delete static_cast<F *>(user); }

inline int32_t fuse_hpp_temp(void *user, float *out) {
    return guarded([&] {
        const hal<float> given = (*static_cast<temp_callback *>(user))();
        *out = given.value;
        return given.code;
    });
}
inline int32_t fuse_hpp_timer(void *user, int64_t *out) {
    return guarded([&] {
        const hal<int64_t> given = (*static_cast<timer_callback *>(user))();
        *out = given.value;
        return given.code;
    });
}
inline int32_t fuse_hpp_camera(void *user, uint8_t *buffer, size_t capacity, size_t *out) {
    return guarded([&] {
        const hal<size_t> given = (*static_cast<camera_callback *>(user))(bytes_span(buffer, capacity));
        *out = given.value;
        return given.code;
    });
}
inline int32_t fuse_hpp_function(void *user, fuse_hal_call_t *call) {
    return guarded([&] {
        hal_call wrapped(call);
        return (*static_cast<hal_callback *>(user))(wrapped);
    });
}
inline void fuse_hpp_log(void *user, const fuse_log_record_t *record) {
    (void)guarded([&] {
        (*static_cast<log_callback *>(user))(*record);
        return 0;
    });
}
inline int32_t fuse_hpp_fetch(void *user, const char *name, const char *binary, const uint8_t **out, size_t *length) {
    return guarded([&] {
        result<bytes_view> given = (*static_cast<fetch_callback *>(user))(name, binary);
        if (!given.ok()) return given.status();
        *out = given.value().data();
        *length = given.value().size();
        return FUSE_OK;
    });
}
inline int32_t fuse_hpp_init(void *user, const fuse_quota_expiry_t *expiry) {
    return guarded([&] { return static_cast<platform *>(user)->init(expiry); });
}
inline uint64_t fuse_hpp_timestamp(void *user) {
    uint64_t now = 0;
    (void)guarded([&] {
        now = static_cast<platform *>(user)->timestamp_us();
        return 0;
    });
    return now;
}
inline void fuse_hpp_quota_arm(void *user, uint32_t quota_us, uint64_t token) {
    (void)guarded([&] {
        static_cast<platform *>(user)->quota_arm(quota_us, token);
        return 0;
    });
}
inline void fuse_hpp_quota_cancel(void *user) {
    (void)guarded([&] {
        static_cast<platform *>(user)->quota_cancel();
        return 0;
    });
}
} // namespace detail

/* A HAL group of the host, to be registered with runtime::add. */
class hal_group {
  public:
    /* `bit` is its capability bit in policies, 8 to 31. */
    hal_group(std::string name, uint32_t bit) : name_(std::move(name)), bit_(bit) {}

    /* Adds a function. `params` are FUSE_HAL_ types; `result` is one of the number types or FUSE_HAL_NONE. */
    hal_group &function(std::string name, std::vector<fuse_hal_type_t> params, fuse_hal_type_t result,
                        hal_callback callback) {
        functions_.push_back({std::move(name), std::move(params), result, std::move(callback)});
        return *this;
    }

  private:
    friend class runtime;
    struct entry {
        std::string name;
        std::vector<fuse_hal_type_t> params;
        fuse_hal_type_t result;
        hal_callback callback;
    };
    std::string name_;
    uint32_t bit_;
    std::vector<entry> functions_;
};

/* ---- Events ------------------------------------------------------------------------------------------------------- */

/* Posts events into one runtime from any thread or interrupt. */
class poster {
  public:
    poster(poster &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    poster &operator=(poster &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    poster(const poster &) = delete;
    poster &operator=(const poster &) = delete;
    ~poster() { fuse_poster_close(handle_); }

    /* False for an event above 31. */
    bool post(uint32_t event) const noexcept { return fuse_poster_post(handle_, event) == FUSE_OK; }
    bool post_at(uint32_t event, uint64_t timestamp_us) const noexcept {
        return fuse_poster_post_at(handle_, event, timestamp_us) == FUSE_OK;
    }
    const fuse_poster_t *get() const noexcept { return handle_; }

  private:
    friend class runtime;
    explicit poster(fuse_poster_t *handle) noexcept : handle_(handle) {}
    fuse_poster_t *handle_;
};

/* ---- The runtime -------------------------------------------------------------------------------------------------- */

/* The fields of fuse_runtime_config_t, beginning as FUSE_RUNTIME_CONFIG_INIT. */
struct runtime_config : fuse_runtime_config_t {
    runtime_config() noexcept : fuse_runtime_config_t(FUSE_RUNTIME_CONFIG_INIT) {}
    /* For an application; it is not needed after the runtime is made. */
    explicit runtime_config(const fuse::app &application) noexcept : runtime_config() { app = application.get(); }
};

/* How one module's step in a tick ended. */
struct outcome {
    fuse_module_id_t module;
    fuse_status_t status;
};

/* Figures of the log. */
struct log_figures {
    uint64_t next_sequence;
    uint64_t lost;
    uint64_t lost_security;
};

/* Runs modules under policies, step by step. It belongs to one thread at a time. */
class runtime {
  public:
    /* A runtime on the library's own platform (full build on Linux), or on the host's. */
    static result<runtime> make(const runtime_config &config = runtime_config(),
                                std::unique_ptr<fuse::platform> host = nullptr) {
        fuse_platform_t table = FUSE_PLATFORM_INIT;
        if (host) {
            table.flags = host->flags();
            table.user = host.get();
            table.init = detail::fuse_hpp_init;
            table.timestamp_us = detail::fuse_hpp_timestamp;
            if (host->has_quota_timer()) {
                table.quota_arm = detail::fuse_hpp_quota_arm;
                table.quota_cancel = detail::fuse_hpp_quota_cancel;
                table.quota_resolution_us = host->quota_resolution_us();
            }
        }
        fuse_runtime_t *handle = nullptr;
        char error[1040];
        const fuse_status_t status = fuse_runtime_new(&config, host ? &table : nullptr, &handle, error, sizeof error);
        if (status != FUSE_OK) return {status, error};
        return runtime(handle, std::move(host));
    }

    runtime(runtime &&other) noexcept
        : handle_(std::exchange(other.handle_, nullptr)), platform_(std::move(other.platform_)) {}
    runtime &operator=(runtime &&other) noexcept {
        std::swap(handle_, other.handle_);
        std::swap(platform_, other.platform_);
        return *this;
    }
    runtime(const runtime &) = delete;
    runtime &operator=(const runtime &) = delete;
    ~runtime() { fuse_runtime_close(handle_); }

    fuse_runtime_t *get() const noexcept { return handle_; }

    result<fuse_module_id_t> load(const std::string &name, bytes_view artifact, const fuse_policy_t &policy) {
        fuse_module_id_t id = 0;
        const fuse_status_t status =
            fuse_runtime_load(handle_, name.c_str(), artifact.data(), artifact.size(), &policy, &id);
        if (status == FUSE_OK) grow();
        return take(status, id);
    }
    /* Builds with files only. */
    result<fuse_module_id_t> load_file(const std::string &name, const std::string &path, const fuse_policy_t &policy) {
        fuse_module_id_t id = 0;
        const fuse_status_t status = fuse_runtime_load_file(handle_, name.c_str(), path.c_str(), &policy, &id);
        if (status == FUSE_OK) grow();
        return take(status, id);
    }
    /* Loads all modules of the application that the runtime was made for. */
    result<std::vector<fuse_module_id_t>> load_app(const fuse::app &application, fetch_callback fetch = nullptr) {
        std::vector<fuse_module_id_t> ids = room(application);
        size_t count = 0;
        const fuse_status_t status =
            fuse_runtime_load_app(handle_, application.get(), fetch ? detail::fuse_hpp_fetch : nullptr, &fetch,
                                  ids.data(), ids.size(), &count);
        if (status == FUSE_OK) grow();
        ids.resize(count);
        return take(status, std::move(ids));
    }
    /* The same with artifacts from files below a folder. Builds with files only. */
    result<std::vector<fuse_module_id_t>> load_app_files(const fuse::app &application, const std::string &folder) {
        std::vector<fuse_module_id_t> ids = room(application);
        size_t count = 0;
        const fuse_status_t status = fuse_runtime_load_app_files(handle_, application.get(), folder.c_str(), ids.data(),
                                                                 ids.size(), &count);
        if (status == FUSE_OK) grow();
        ids.resize(count);
        return take(status, std::move(ids));
    }
    result<void> update(fuse_module_id_t id, bytes_view artifact) {
        return check(fuse_runtime_update(handle_, id, artifact.data(), artifact.size()));
    }
    result<void> unload(fuse_module_id_t id) { return check(fuse_runtime_unload(handle_, id)); }

    result<void> start(fuse_module_id_t id) { return check(fuse_runtime_start(handle_, id)); }
    result<void> pause(fuse_module_id_t id) { return check(fuse_runtime_pause(handle_, id)); }
    result<void> restart_module(fuse_module_id_t id) { return check(fuse_runtime_restart_module(handle_, id)); }
    result<void> stop() { return check(fuse_runtime_stop(handle_)); }
    result<void> restart() { return check(fuse_runtime_restart(handle_)); }
    result<bool> is_stopped() {
        uint32_t out = 0;
        const fuse_status_t status = fuse_runtime_is_stopped(handle_, &out);
        return take(status, out != 0);
    }

    result<void> run_step(fuse_module_id_t id) { return check(fuse_runtime_run_step(handle_, id)); }
    /* Which modules ran, in order, and how each ended. */
    result<std::vector<outcome>> tick() {
        size_t ran = 0;
        const fuse_status_t status =
            fuse_runtime_tick(handle_, ids_.data(), statuses_.data(), ids_.size(), &ran, nullptr);
        std::vector<outcome> out;
        for (size_t index = 0; index < ran && index < ids_.size(); index++) out.push_back({ids_[index], statuses_[index]});
        return take(status, std::move(out));
    }
    /* Microseconds until a module is due; FUSE_NEVER. */
    result<uint64_t> next_deadline_us() {
        uint64_t out = FUSE_NEVER;
        const fuse_status_t status = fuse_runtime_next_deadline(handle_, &out);
        return take(status, out);
    }

    /* Also from inside callbacks. */
    result<void> post_event(uint32_t event) {
        return check(fuse_runtime_post_event(handle_, event));
    }
    result<void> clear_event(uint32_t event) { return check(fuse_runtime_clear_event(handle_, event)); }
    result<fuse::poster> make_poster() {
        fuse_poster_t *out = nullptr;
        const fuse_status_t status = fuse_runtime_poster(handle_, &out);
        if (status != FUSE_OK) return {status, detail::last_error(handle_)};
        return fuse::poster(out);
    }

    /* HAL. An empty callback removes the one that was there. */
    result<void> set_temp(temp_callback callback) {
        const bool there = static_cast<bool>(callback);
        return check(fuse_runtime_set_temp(handle_, there ? detail::fuse_hpp_temp : nullptr,
                                           new temp_callback(std::move(callback)), detail::destroy<temp_callback>));
    }
    result<void> set_timer(timer_callback callback) {
        const bool there = static_cast<bool>(callback);
        return check(fuse_runtime_set_timer(handle_, there ? detail::fuse_hpp_timer : nullptr,
                                            new timer_callback(std::move(callback)), detail::destroy<timer_callback>));
    }
    result<void> set_camera(camera_callback callback) {
        const bool there = static_cast<bool>(callback);
        return check(fuse_runtime_set_camera(handle_, there ? detail::fuse_hpp_camera : nullptr,
                                             new camera_callback(std::move(callback)),
                                             detail::destroy<camera_callback>));
    }
    result<void> add(hal_group group) {
        std::vector<fuse_hal_function_t> functions;
        std::vector<const fuse_hal_function_t *> pointers;
        functions.reserve(group.functions_.size());
        for (hal_group::entry &entry : group.functions_) {
            fuse_hal_function_t function = FUSE_HAL_FUNCTION_INIT;
            function.result = entry.result;
            function.name = entry.name.c_str();
            function.params = entry.params.empty() ? nullptr : entry.params.data();
            function.param_count = entry.params.size();
            function.callback = detail::fuse_hpp_function;
            function.user = new hal_callback(std::move(entry.callback));
            function.finalizer = detail::destroy<hal_callback>;
            functions.push_back(function);
            pointers.push_back(&functions.back());
        }
        fuse_hal_group_t raw = FUSE_HAL_GROUP_INIT;
        raw.bit = group.bit_;
        raw.name = group.name_.c_str();
        raw.functions = pointers.data();
        raw.function_count = pointers.size();
        return check(fuse_runtime_register_group(handle_, &raw));
    }

    result<fuse_module_id_t> find(const std::string &name) {
        fuse_module_id_t out = 0;
        const fuse_status_t status = fuse_runtime_find(handle_, name.c_str(), &out);
        return take(status, out);
    }
    result<std::vector<fuse_module_id_t>> modules() {
        size_t count = 0;
        fuse_status_t status = fuse_runtime_modules(handle_, nullptr, 0, &count);
        std::vector<fuse_module_id_t> out(count);
        if (status == FUSE_ERR_BUFFER_TOO_SMALL)
            status = fuse_runtime_modules(handle_, out.data(), out.size(), &count);
        return take(status, std::move(out));
    }
    result<fuse_module_info_t> info(fuse_module_id_t id) {
        fuse_module_info_t out = FUSE_MODULE_INFO_INIT;
        const fuse_status_t status = fuse_runtime_module_info(handle_, id, &out);
        return take(status, out);
    }
    result<fuse_module_stats_t> stats(fuse_module_id_t id) {
        fuse_module_stats_t out = FUSE_MODULE_STATS_INIT;
        const fuse_status_t status = fuse_runtime_module_stats(handle_, id, &out);
        return take(status, out);
    }
    result<policy> module_policy(fuse_module_id_t id) {
        policy out;
        const fuse_status_t status = fuse_runtime_module_policy(handle_, id, &out);
        return take(status, out);
    }
    /* Why a module failed; empty when it has not. */
    result<std::string> failure(fuse_module_id_t id) {
        char text[512] = "";
        const fuse_status_t status = fuse_runtime_module_failure(handle_, id, text, sizeof text, nullptr);
        return take(status, std::string(text));
    }
    /* A copy of a part of a module's memory. */
    result<std::vector<uint8_t>> memory(fuse_module_id_t id, uint64_t offset, size_t length) {
        std::vector<uint8_t> out(length);
        const fuse_status_t status = fuse_runtime_module_memory(handle_, id, offset, out.data(), length, nullptr);
        return take(status, std::move(out));
    }

    /* The oldest log record from `sequence` on, which moves past it; none at the end. */
    result<std::optional<fuse_log_record_t>> log_next(uint64_t &sequence) {
        fuse_log_record_t record = FUSE_LOG_RECORD_INIT;
        const fuse_status_t status = fuse_runtime_log_next(handle_, &sequence, &record);
        if (status == FUSE_END) return std::optional<fuse_log_record_t>();
        return take(status, std::optional<fuse_log_record_t>(record));
    }
    result<log_figures> log_counts() {
        log_figures out{};
        const fuse_status_t status =
            fuse_runtime_log_counts(handle_, &out.next_sequence, &out.lost, &out.lost_security);
        return take(status, out);
    }
    result<void> set_log_sink(log_callback sink) {
        const bool there = static_cast<bool>(sink);
        return check(fuse_runtime_set_log_sink(handle_, there ? detail::fuse_hpp_log : nullptr,
                                               new log_callback(std::move(sink)), detail::destroy<log_callback>));
    }

  private:
    runtime(fuse_runtime_t *handle, std::unique_ptr<fuse::platform> host) noexcept
        : handle_(handle), platform_(std::move(host)) {}

    /* Room for as many outcomes as there are modules: made when modules come, so that a tick only fills it. */
    void grow() {
        size_t count = 0;
        (void)fuse_runtime_modules(handle_, nullptr, 0, &count);
        if (count > ids_.size()) {
            ids_.resize(count);
            statuses_.resize(count);
        }
    }

    static std::vector<fuse_module_id_t> room(const fuse::app &application) {
        result<fuse_app_info_t> info = application.info();
        return std::vector<fuse_module_id_t>(info.ok() ? info.value().module_count : 0);
    }

    result<void> check(fuse_status_t status) {
        if (status != FUSE_OK) return {status, detail::last_error(handle_)};
        return {};
    }
    template <class T> result<T> take(fuse_status_t status, T value) {
        if (status != FUSE_OK) return {status, detail::last_error(handle_)};
        return value;
    }

    fuse_runtime_t *handle_;
    std::unique_ptr<fuse::platform> platform_;
    std::vector<fuse_module_id_t> ids_;
    std::vector<fuse_status_t> statuses_;
};

} // namespace FUSE_HPP_NAMESPACE
} // namespace fuse

/* The flight library has no orchestrator. */
#ifndef FUSE_EDGE_ONLY
#include "fuse_orchestrator.hpp"
#endif

#undef FUSE_HPP_NAMESPACE

#endif /* FUSE_RUNTIME_FUSE_HPP */
