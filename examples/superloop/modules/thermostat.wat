;; Reads the temperature. Above 40 degrees it says so and posts event 0; the cooler listens to that.
(module
  (import "env" "temp_get_reading" (func $temperature (result f32)))
  (import "env" "fuse_event_post" (func $post (param i32)))
  (import "env" "module_log_event" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "too hot")
  (func (export "module_step")
    (if (f32.gt (call $temperature) (f32.const 40))
      (then
        (call $log (i32.const 0) (i32.const 7) (i32.const 1))
        (call $post (i32.const 0))))))
