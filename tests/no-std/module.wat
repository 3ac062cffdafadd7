(module
  (import "env" "temp_get_reading" (func $read (result f32)))
  (memory (export "memory") 1)
  (func (export "module_step") (f32.store (i32.const 0) (f32.sqrt (call $read)))))
