;; A step of a million rounds of a linear congruential generator.
(module
  (memory (export "memory") 1)
  (func (export "module_step") (local $i i32) (local $s i32)
    (local.set $i (i32.const 1000000))
    (loop $again
      (local.set $s (i32.add (i32.mul (local.get $s) (i32.const 1664525)) (i32.const 1013904223)))
      (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
    (i32.store (i32.const 0) (local.get $s))))
