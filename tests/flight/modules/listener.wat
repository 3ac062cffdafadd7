;; Counts how often event 1 woke it; traps in the step after the number at address 4, unless that is 0.
(module
  (memory (export "memory") 1)
  (func (export "module_step")
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
    (if (i32.and (i32.ne (i32.load (i32.const 4)) (i32.const 0))
                 (i32.gt_u (i32.load (i32.const 0)) (i32.load (i32.const 4))))
      (then unreachable))))
