/* Joins standard input and output to a vsock port, for tests that speak to a guest agent from inside of its guest.
 *   vsock-cat CID PORT */
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int copy(int from, int to) {
    static char buffer[65536];
    ssize_t count = read(from, buffer, sizeof buffer);
    for (ssize_t done = 0; done < count;) {
        ssize_t written = write(to, buffer + done, count - done);
        if (written <= 0) return -1;
        done += written;
    }
    return count > 0 ? 1 : 0;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = atoi(argv[1]), .svm_port = atoi(argv[2])};
    int s = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof to) < 0) {
        perror("vsock");
        return 1;
    }
    struct pollfd both[2] = {{.fd = 0, .events = POLLIN}, {.fd = s, .events = POLLIN}};
    while (poll(both, 2, -1) > 0) {
        if (both[0].revents && copy(0, s) <= 0) {
            both[0].fd = -1;
            shutdown(s, SHUT_WR);
        }
        if (both[1].revents && copy(s, 1) <= 0) return 0;
    }
    return 1;
}
