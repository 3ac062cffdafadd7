;; Answers a request with its text in capitals. A text that begins with `!` makes it loop for ever, one that begins with `?`
;; makes it trap: the service shows that neither harms anybody.
(module
  (import "env" "request_read" (func $read (param i32 i32) (result i32)))
  (import "env" "response_write" (func $write (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "module_step") (local $length i32) (local $at i32) (local $c i32)
    (local.set $length (call $read (i32.const 0) (i32.const 65536)))
    (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 0x21)) (then (loop $for_ever (br $for_ever))))
    (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 0x3f)) (then unreachable))
    (block $end
      (loop $next
        (br_if $end (i32.ge_u (local.get $at) (local.get $length)))
        (local.set $c (i32.load8_u (local.get $at)))
        (if (i32.lt_u (i32.sub (local.get $c) (i32.const 0x61)) (i32.const 26))
          (then (i32.store8 (local.get $at) (i32.sub (local.get $c) (i32.const 32)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (call $write (i32.const 0) (local.get $length))))
