/* Rule 5: callbacks that fail, re-enter, close; finalizers; the sink; buffers that are checked. Requirement
 * FLIGHT-06. */
#include "check.h"

static fuse_runtime_t *runtime;
static fuse_module_id_t module;
static int finalized, sunk, reentered;

static void finalizer(void *user) {
    CHECK(user == &finalized);
    finalized++;
}

static int32_t failing(void *user, float *out) {
    (void)user;
    (void)out;
    return 77;
}

static int32_t reentering(void *user, float *out) {
    uint64_t us, sequence = 0;
    fuse_module_id_t id;
    size_t count;
    char text[256];
    fuse_log_record_t record = FUSE_LOG_RECORD_INIT;
    fuse_poster_t *poster = NULL;
    (void)user;
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_unload(runtime, module));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_run_step(runtime, module));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_tick(runtime, NULL, NULL, 0, NULL, NULL));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_stop(runtime));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_close(runtime));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_next_deadline(runtime, &us));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_set_temp(runtime, failing, &finalized, finalizer));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_modules(runtime, &id, 1, &count));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_log_next(runtime, &sequence, &record));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_clear_event(runtime, 3));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_poster(runtime, &poster));
    IS(FUSE_OK, fuse_last_error(runtime, text, sizeof text, NULL));
    CHECK(strstr(text, "callback"));
    IS(FUSE_OK, fuse_runtime_post_event(runtime, 3)); /* the one exception */
    *out = 1;
    reentered++;
    return 0;
}

static void sink(void *user, const fuse_log_record_t *record) {
    CHECK(user == &finalized);
    CHECK(record->struct_size == sizeof *record && record->text_length == strlen(record->text));
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_stop(runtime));
    sunk++;
}

static int32_t swap(void *user, fuse_hal_call_t *call) {
    const uint8_t *in;
    uint8_t *out, *none;
    size_t in_length, out_length, none_length;
    int32_t number = 0;
    int64_t wrong;
    (void)user;
    IS(FUSE_OK, fuse_hal_call_input(call, 0, &in, &in_length));
    IS(FUSE_OK, fuse_hal_call_output(call, 1, &out, &out_length));
    IS(FUSE_OK, fuse_hal_call_i32(call, 2, &number));
    /* Other types and numbers than the signature's. */
    IS(FUSE_ERR_INVALID_ARG, fuse_hal_call_i64(call, 2, &wrong));
    IS(FUSE_ERR_INVALID_ARG, fuse_hal_call_i32(call, 0, &number));
    IS(FUSE_ERR_INVALID_ARG, fuse_hal_call_i32(call, 9, &number));
    IS(FUSE_OK, fuse_hal_call_output(call, 0, &none, &none_length)); /* an input is not written */
    CHECK(none_length == 0);
    CHECK(in_length == 4 && memcmp(in, "ping", 4) == 0 && out_length == 4);
    memcpy(out, "pong", 4);
    return fuse_hal_call_return_i32(call, 42);
}

static const char SWAP_MODULE[] = "(module (import \"env\" \"swap\" (func $swap (param i32 i32 i32 i32 i32) (result i32)))"
                                  "(memory (export \"memory\") 1) (data (i32.const 16) \"ping\")"
                                  "(func (export \"module_step\") (if (i32.ne (call $swap (i32.const 16) (i32.const 4) (i32.const 32)"
                                  "(i32.const 4) (i32.const 7)) (i32.const 42)) (then unreachable))))";

static void host_groups(void) {
    static const fuse_hal_type_t params[] = {FUSE_HAL_IN, FUSE_HAL_OUT, FUSE_HAL_I32};
    fuse_hal_function_t function = FUSE_HAL_FUNCTION_INIT;
    fuse_hal_group_t group = FUSE_HAL_GROUP_INIT;
    const fuse_hal_function_t *functions[] = {&function};
    uint8_t memory[4];
    uint64_t size = 0;
    function.name = "swap";
    function.params = params;
    function.param_count = 3;
    function.result = FUSE_HAL_I32;
    function.callback = swap;
    function.user = &finalized;
    function.finalizer = finalizer;
    group.name = "swaps";
    group.functions = functions;
    group.function_count = 1;
    group.bit = 3; /* taken by a built-in group: refused, and the finalizer is called all the same */
    int before = finalized;
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_register_group(runtime, &group));
    CHECK(finalized == before + 1);
    group.bit = 9;
    IS(FUSE_OK, fuse_runtime_register_group(runtime, &group));
    module = start(runtime, "swaps", SWAP_MODULE, 1u << 9);
    IS(FUSE_OK, fuse_runtime_run_step(runtime, module));
    IS(FUSE_OK, fuse_runtime_module_memory(runtime, module, 32, memory, 4, &size));
    CHECK(memcmp(memory, "pong", 4) == 0 && size == 65536);
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_module_memory(runtime, module, 65533, memory, 4, NULL));
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_module_memory(runtime, module, UINT64_MAX, memory, 4, NULL));
}

int main(void) {
    fuse_module_info_t info = FUSE_MODULE_INFO_INIT;
    char text[256];
    runtime = new_runtime();
    IS(FUSE_OK, fuse_runtime_set_log_sink(runtime, sink, &finalized, finalizer));
    IS(FUSE_OK, fuse_runtime_set_temp(runtime, failing, &finalized, finalizer));
    module = start(runtime, "thermometer", TEMP_MODULE, FUSE_CAP_TEMP_SENSOR);
    IS(FUSE_ERR_TRAP, fuse_runtime_run_step(runtime, module));
    IS(FUSE_OK, fuse_runtime_module_info(runtime, module, &info));
    CHECK(info.state == FUSE_STATE_TRAPPED && info.failure == FUSE_ERR_TRAP);
    IS(FUSE_OK, fuse_runtime_module_failure(runtime, module, text, sizeof text, NULL));
    CHECK(strstr(text, "77"));
    CHECK(sunk == 1 && finalized == 0);

    IS(FUSE_OK, fuse_runtime_set_temp(runtime, reentering, &finalized, finalizer)); /* ends the first */
    CHECK(finalized == 1);
    IS(FUSE_OK, fuse_runtime_restart_module(runtime, module));
    IS(FUSE_OK, fuse_runtime_run_step(runtime, module));
    CHECK(reentered == 1 && finalized == 2); /* the one that was refused inside */
    IS(FUSE_OK, fuse_runtime_set_temp(runtime, NULL, NULL, NULL));
    IS(FUSE_OK, fuse_runtime_run_step(runtime, module));
    CHECK(finalized == 3);
    host_groups();
    IS(FUSE_OK, fuse_runtime_close(runtime));
    CHECK(finalized == 6); /* the refused group, the group, the sink */
    return 0;
}
