;; Works three times, then never comes back: the quota has to end it.
(module
  (global $steps (mut i32) (i32.const 0))
  (func (export "module_step")
    (global.set $steps (i32.add (global.get $steps) (i32.const 1)))
    (if (i32.gt_s (global.get $steps) (i32.const 3)) (then (loop $ever (br $ever))))))
