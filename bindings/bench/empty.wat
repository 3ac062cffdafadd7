(module (func (export "module_step")))
