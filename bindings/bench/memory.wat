;; A step reads and writes each word of a page, a hundred times over.
(module
  (memory (export "memory") 1)
  (func (export "module_step") (local $i i32) (local $at i32)
    (local.set $i (i32.const 100))
    (loop $pass
      (local.set $at (i32.const 65532))
      (loop $word
        (i32.store (local.get $at)
          (i32.add (i32.rotl (i32.load (local.get $at)) (i32.const 5)) (local.get $at)))
        (br_if $word (local.tee $at (i32.sub (local.get $at) (i32.const 4)))))
      (br_if $pass (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))
