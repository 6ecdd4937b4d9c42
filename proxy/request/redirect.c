/*
 * Redirects and refusals, as rows: how the error begins, what it teaches, and
 * how long to wait before the command is tried again. The command did not run
 * in any of these cases, so that sending it again is safe (what is no script is not sent again). The refusal stays
 * in the request: should request-timeout pass, the client gets it as it is.
 */
#include "proxy/request/redirect.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/stream.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/session/watch.h"
#include "proxy/upstream/link.h"
#include "proxy/upstream/script_load.h"
#include "proxy/worker.h"

enum action { ACT_MOVED, ACT_ASK, ACT_WAIT_OPEN, ACT_WAIT, ACT_NOT_OURS, ACT_LOAD_SCRIPT, ACT_FORGET_SCRIPT };

enum { LOADS_MAX = 8 };

struct refusal {
    const char *begins;
    enum action action;
    unsigned delay_ms;
};

/* From the texts of Redis 7.0 and Valkey 8 (cluster.c, server.c). Scripts may answer any text, so these are long. */
static const struct refusal refusals[] = {
    {"-MOVED ", ACT_MOVED, 0},
    {"-ASK ", ACT_ASK, 0},
    {"-TRYAGAIN Multiple keys request during rehashing of slot", ACT_WAIT_OPEN, 5},
    {"-CLUSTERDOWN ", ACT_WAIT, 20},
    {"-LOADING ", ACT_WAIT, 20},
    {"-MASTERDOWN Link with MASTER is down", ACT_WAIT, 20},
    {"-READONLY You can't write against a read only replica", ACT_WAIT, 10},
    {"-UNBLOCKED force unblock from blocking operation, instance state changed", ACT_WAIT, 5},
    {"-NOAUTH ", ACT_NOT_OURS, 0},
    {"-NOSCRIPT No matching script", ACT_LOAD_SCRIPT, 0},
    {"-ERR Error compiling script (new function): user_script:", ACT_FORGET_SCRIPT, 0},
    {"-ERR Invalid script shebang", ACT_FORGET_SCRIPT, 0},
    {"-ERR Invalid engine in script shebang", ACT_FORGET_SCRIPT, 0},
    {"-ERR Unexpected engine in script shebang: ", ACT_FORGET_SCRIPT, 0},
    {"-ERR Unexpected flag in script shebang: ", ACT_FORGET_SCRIPT, 0},
    {"-ERR Unknown lua shebang option: ", ACT_FORGET_SCRIPT, 0},
};

static const struct refusal *find_refusal(const char *text, size_t len) {
    for (size_t i = 0; i < KW_ARRAY_LEN(refusals); i++) {
        size_t n = strlen(refusals[i].begins);
        if (len >= n && memcmp(text, refusals[i].begins, n) == 0) return &refusals[i];
    }
    return NULL;
}

/* "-MOVED 3999 127.0.0.1:6381": the slot must be the request's own. Returns the named node, or NULL if unknown. */
static struct kw_node *named_node(struct kw_link *link, const struct kw_request *req, const char *text, size_t len,
                                  bool *valid) {
    char line[400];
    if (len >= sizeof(line)) len = sizeof(line) - 1;
    memcpy(line, text, len);
    line[len] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    char *slot_text = strchr(line, ' ');
    char *addr = slot_text ? strchr(slot_text + 1, ' ') : NULL;
    *valid = addr && (req->slot < 0 || strtol(slot_text + 1, NULL, 10) == req->slot);
    if (!*valid) return NULL;
    addr++;
    if (addr[0] == ':') {
        /* A node that does not know its own address: the port counts, at the host that we used. */
        char full[320];
        int n = snprintf(full, sizeof(full), "%s%s", link->node->host, addr);
        return kw_node_find(link->worker, full, (size_t)n);
    }
    return kw_node_find(link->worker, addr, strlen(addr));
}

/* A split part or a broadcast knows its node; anything else finds it anew each time. */
static void retarget(struct kw_request *req, struct kw_node *node, bool ask) {
    if (req->flags & KW_REQF_ANY_SLOT) return;
    req->target = ask ? node : NULL;
    req->ask = ask;
}

static uint64_t backoff_us(const struct kw_request *req, unsigned delay_ms) {
    /* A redirect is followed at once, unless it keeps coming back. */
    if (delay_ms == 0 && req->attempts < 4) return 0;
    uint64_t ms = delay_ms ? delay_ms : 5;
    return (req->attempts > 16 ? ms * 4 : ms) * 1000;
}

static bool refused(struct kw_link *link, struct kw_request *req, const struct refusal *row, const char *text,
                    size_t len) {
    struct kw_worker *worker = link->worker;
    bool valid = true;
    unsigned delay_ms = row->delay_ms;
    struct kw_node *node = NULL;
    if (row->action == ACT_MOVED || row->action == ACT_ASK) {
        node = named_node(link, req, text, len, &valid);
        if (!valid) return false;
        if (!node) delay_ms = 5;
    }
    /* ASKING is for the next command only: what comes with others (a transaction, WATCH) waits until its slot has
     * moved. */
    bool alone = !req->skip_total && !(req->flags & (KW_REQF_WATCH | KW_REQF_CACHING_YES | KW_REQF_CACHING_NO));
    bool ask = row->action == ACT_ASK && node && alone;
    if (row->action == ACT_ASK && !ask) delay_ms = 5;
    retarget(req, ask ? node : NULL, ask);
    if (row->action == ACT_MOVED && node && req->slot >= 0) {
        kw_dispatch_slot_moved(worker, (unsigned)req->slot, node);
    } else if ((row->action == ACT_ASK || row->action == ACT_WAIT_OPEN) && req->slot >= 0) {
        kw_dispatch_slot_open(worker, (unsigned)req->slot);
    }
    if (row->action != ACT_ASK) kw_server_topology_doubt(worker->server);
    worker->stats.redirects++;
    if (req->attempts < UINT8_MAX) req->attempts++;
    if (req->flags & KW_REQF_EXCLUSIVE) kw_stream_finished(link, req);
    kw_dispatch_park(req, backoff_us(req, delay_ms));
    return true;
}

/* The node gets the script, and the request is sent to it again. False: we do not know the script either. */
static bool load_script(struct kw_link *link, struct kw_request *req) {
    const char *sha1;
    size_t len;
    if (req->attempts >= LOADS_MAX || strncmp(req->cmd->name, "evalsha", 7) != 0 ||
        !kw_script_digest(req, &sha1, &len)) {
        return false;
    }
    if (!kw_script_send(link, sha1, len, req->moment)) return false;
    req->attempts++;
    kw_dispatch_park(req, 0);
    return true;
}

bool kw_redirect_handle(struct kw_link *link, struct kw_request *req, const char *text, size_t len) {
    const struct refusal *row = find_refusal(text, len);
    if (KW_LIKELY(!row)) return false;
    if (row->action == ACT_LOAD_SCRIPT) return load_script(link, req);
    if (row->action == ACT_FORGET_SCRIPT) {
        kw_script_refused(kw_server_scripts(link->worker->server), req);
        return false;
    }
    if (row->action == ACT_NOT_OURS) {
        kw_request_reply_error(link->worker, req, "ERR Node %s asks Keyway for a password: set cluster-password",
                               link->node->addr);
        return false;
    }
    if (kw_watch_is_exec(req)) {
        /* Sent elsewhere it would run without having watched. */
        kw_watch_reply_nil(link->worker, req);
        return false;
    }
    if (req->flags & KW_REQF_STREAMED) {
        kw_request_reply_error(link->worker, req,
                               "TRYAGAIN The slot moved while a large value was on its way; the command did not run");
        return false;
    }
    /* A script's own error comes behind its work; only what the cluster layer says before it runs is a refusal. */
    if ((req->flags & KW_REQF_SCRIPT) && memmem(text, len, "script: ", 8)) return false;
    return refused(link, req, row, text, len);
}
