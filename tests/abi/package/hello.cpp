// What a new user writes first, in C++.
#include <fuse.hpp>

#include <iostream>

int main() {
    fuse::runtime runtime = fuse::runtime::make().value();
    const auto source = fuse::bytes_of("(module (func (export \"module_step\")))");
    runtime.start(runtime.load("hello", source, fuse::policy()).value()).value();
    std::cout << "fuse " << fuse_library_version() << ": " << runtime.tick().value().size() << " module ran\n";
}
