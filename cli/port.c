/*
 * Port search by binding and closing again. Another process may take a port
 * between the search and its use: whoever starts a server on it still has to
 * handle that. Nothing is kept open.
 */
#include "cli/port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

/* Client ports come from here; with the bus offset the highest is 31999, under the kernel's default 32768. */
enum { NODE_PORT_FIRST = 18000, NODE_PORT_COUNT = 4000 };

/* Binds 127.0.0.1:port as a server would. Returns the socket, or -1. */
static int bind_loopback(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int on = 1;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 1) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

bool kw_port_free(uint16_t port) {
    int fd = bind_loopback(port);
    if (fd < 0) return false;
    close(fd);
    return true;
}

int kw_port_find_nodes(uint16_t *ports, unsigned count, uint64_t seed, uint16_t avoid) {
    unsigned first = (unsigned)(seed % NODE_PORT_COUNT);
    unsigned found = 0;
    for (unsigned i = 0; i < NODE_PORT_COUNT && found < count; i++) {
        uint16_t port = (uint16_t)(NODE_PORT_FIRST + (first + i) % NODE_PORT_COUNT);
        uint16_t bus = (uint16_t)(port + KW_PORT_BUS_OFFSET);
        if (port == avoid || bus == avoid) continue;
        if (kw_port_free(port) && kw_port_free(bus)) ports[found++] = port;
    }
    return found == count ? 0 : KW_ELIMIT;
}

uint16_t kw_port_find_any(void) {
    struct sockaddr_in addr = {0};
    socklen_t len = sizeof(addr);
    int fd = bind_loopback(0);
    if (fd < 0) return 0;
    uint16_t port = getsockname(fd, (struct sockaddr *)&addr, &len) == 0 ? ntohs(addr.sin_port) : 0;
    close(fd);
    return port;
}
