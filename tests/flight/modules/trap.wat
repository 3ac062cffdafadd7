;; Fails in every step.
(module (func (export "module_step") unreachable))
