/* Free TCP ports on loopback. Main thread. */
#ifndef KW_CLI_PORT_H
#define KW_CLI_PORT_H

#include <stdbool.h>
#include <stdint.h>

/* The cluster bus of a node listens this far above its client port, as by Redis's own convention. */
#define KW_PORT_BUS_OFFSET 10000

/* A metadata node listens for the others this far above its client port. */
#define KW_PORT_RAFT_OFFSET 10000

/* True when 127.0.0.1:port can be bound now. */
bool kw_port_free(uint16_t port);

/*
 * Finds `count` different ports, each free and with a free bus port above,
 * all below the range from which the kernel takes outgoing ports (so that
 * none is lost to some client while the cluster is down). `seed` says where
 * to begin, so that different folders land on different ports; `avoid` is
 * left out (the port that the proxy will take). Returns 0, or
 * KW_ELIMIT when there are not enough.
 */
int kw_port_find_nodes(uint16_t *ports, unsigned count, uint64_t seed, uint16_t avoid);

/* One port that is free now, chosen by the kernel; 0 when it has none. */
uint16_t kw_port_find_any(void);

#endif
