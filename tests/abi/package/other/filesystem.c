/* A program of the filesystem library, whose names are so close to ours. */
#include <fuse.h>

#include <stdio.h>

int main(void) {
    printf("filesystem library %d\n", fuse_version());
    return fuse_version() >= 20 ? 0 : 1;
}
