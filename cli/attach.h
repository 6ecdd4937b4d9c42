/* Looking at a Redis Cluster before it is attached. Main thread. */
#ifndef KW_CLI_ATTACH_H
#define KW_CLI_ATTACH_H

#include "base/str.h"
#include "cluster/seeds.h"

struct kw_cli_attach_login {
    const char *user;     /* borrowed; NULL: the default one */
    const char *password; /* borrowed; NULL: none */
};

/*
 * Asks one node: is it a whole cluster? Then `text` (own) becomes the CLUSTER NODES text to hand over, with the node's
 * own address filled in, and each node that cannot be reached from here is warned about. Returns 0; KW_EUNREACHABLE
 * when this node does not answer, so that another may be asked; any other error is the cluster's. Reported.
 */
int kw_cli_attach_probe(const struct kw_seed *node, const struct kw_cli_attach_login *login, struct kw_str *text);

#endif
