;; A step reads the temperature a thousand times.
(module
  (import "env" "temp_get_reading" (func $read (result f32)))
  (func (export "module_step") (local $i i32)
    (local.set $i (i32.const 1000))
    (loop $again
      (drop (call $read))
      (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))
