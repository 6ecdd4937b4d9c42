/*
 * `keyway-cli local status`: what the state file records beside what the
 * processes and nodes say now, as a table or as JSON. Takes no lock and
 * changes nothing. Views are read once, and freed before it returns.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/str.h"
#include "cli/json.h"
#include "cli/link.h"
#include "cli/local.h"
#include "cli/local_view.h"
#include "cli/meta_target.h"
#include "cli/port.h"
#include "cli/report.h"

enum { PING_TIMEOUT_MS = 1000 };

struct status {
    struct kw_cli_local_state state;
    struct kw_cli_local_view *views; /* own; one a node */
    bool *alive;                     /* own; one a node */
    struct kw_cli_local_meta_view metas[KW_CLI_LOCAL_META_MAX];
    bool meta_alive[KW_CLI_LOCAL_META_MAX];
    bool proxy_alive;
    bool proxy_answers;
    bool running; /* at least one process */
    bool healthy; /* all of them, and the cluster is whole */
};

static bool proxy_answers(uint16_t port) {
    char error[128];
    redisContext *link = kw_cli_link_open(port, PING_TIMEOUT_MS);
    if (link == NULL) return false;
    bool good = kw_cli_link_succeeds(link, error, sizeof(error), "PING");
    redisFree(link);
    return good;
}

static bool meta_settled(const struct kw_cli_local_meta_view *view) {
    return view->answers && view->leader != 0 && view->attached;
}

static void metas_read(struct status *status) {
    const struct kw_cli_local_state *state = &status->state;
    char secret[KW_CLI_SECRET_MAX] = "";
    if (state->meta_count > 0) (void)kw_cli_secret_read(kw_cli_local_path(state, KW_CLI_LOCAL_SECRET), secret);
    for (unsigned i = 0; i < state->meta_count; i++) {
        status->meta_alive[i] = kw_process_alive(&state->metas[i].process);
        if (status->meta_alive[i]) kw_cli_local_meta_view_read(&status->metas[i], state->metas[i].port, secret);
        status->running = status->running || status->meta_alive[i];
        status->healthy = status->healthy && meta_settled(&status->metas[i]);
    }
}

static void status_read(struct status *status) {
    const struct kw_cli_local_state *state = &status->state;
    status->views = kw_calloc(state->node_count, sizeof(*status->views));
    status->alive = kw_calloc(state->node_count, sizeof(*status->alive));
    status->proxy_alive = kw_process_alive(&state->proxy);
    status->proxy_answers = status->proxy_alive && proxy_answers(state->proxy_port);
    status->running = status->proxy_alive;
    status->healthy = status->proxy_answers && state->formed;
    for (unsigned i = 0; i < state->node_count; i++) {
        status->alive[i] = kw_process_alive(&state->nodes[i].process);
        if (status->alive[i]) kw_cli_local_view_read(&status->views[i], state->nodes[i].port);
        status->running = status->running || status->alive[i];
        status->healthy = status->healthy && kw_cli_local_view_settled(&status->views[i], state->node_count);
    }
    metas_read(status);
}

static void status_deinit(struct status *status) {
    for (unsigned i = 0; i < status->state.node_count; i++) kw_cli_local_view_deinit(&status->views[i]);
    kw_free(status->views);
    kw_free(status->alive);
}

static const char *node_word(const struct status *status, unsigned index) {
    const struct kw_cli_local_view *view = &status->views[index];
    if (!status->alive[index]) return "down";
    if (!view->answers) return "silent";
    if (view->loading) return "loading";
    return kw_cli_local_view_settled(view, status->state.node_count) ? "ok" : "unsettled";
}

static const char *role_word(const struct kw_cli_local_view *view) {
    if (!view->answers || view->loading) return "-";
    return view->primary ? "primary" : "replica";
}

static const char *proxy_word(const struct status *status) {
    return status->proxy_answers ? "ok" : status->proxy_alive ? "silent" : "down";
}

static const char *meta_word(const struct status *status, unsigned index) {
    const struct kw_cli_local_meta_view *view = &status->metas[index];
    if (!status->meta_alive[index]) return "down";
    if (!view->answers) return "silent";
    return view->leader == 0 ? "no leader" : view->attached ? "ok" : "no cluster";
}

static const char *overall_word(const struct status *status) {
    return !status->running ? "not running" : status->healthy ? "running" : "degraded";
}

static void node_row_print(const struct status *status, unsigned index) {
    const struct kw_cli_local_view *view = &status->views[index];
    char addr[32];
    char pid[16] = "-";
    char detail[64] = "-";
    (void)snprintf(addr, sizeof(addr), "127.0.0.1:%u", (unsigned)status->state.nodes[index].port);
    if (status->alive[index]) (void)snprintf(pid, sizeof(pid), "%d", (int)status->state.nodes[index].process.pid);
    bool known = view->answers && !view->loading;
    if (known && !view->primary) {
        (void)snprintf(detail, sizeof(detail), "of %u, link %s", (unsigned)view->primary_port,
                       view->link_up ? "up" : "down");
    } else if (known) {
        (void)snprintf(detail, sizeof(detail), "%u replica%s", view->links, view->links == 1 ? "" : "s");
    }
    (void)printf("%-9s %-16s %-8s %-10s %-22s %-12lld %s\n", role_word(view), addr, pid, node_word(status, index),
                 detail, view->offset, view->slots.len > 0 ? view->slots.data : "-");
}

static void meta_row_print(const struct status *status, unsigned index) {
    const struct kw_cli_local_meta_view *view = &status->metas[index];
    char addr[32];
    char pid[16] = "-";
    char detail[48] = "-";
    char applied[24] = "-";
    (void)snprintf(addr, sizeof(addr), "127.0.0.1:%u", (unsigned)status->state.metas[index].port);
    if (status->meta_alive[index]) (void)snprintf(pid, sizeof(pid), "%d", (int)status->state.metas[index].process.pid);
    if (view->answers) {
        (void)snprintf(detail, sizeof(detail), "%s, term %lld", view->role, view->term);
        (void)snprintf(applied, sizeof(applied), "%lld", view->applied_index);
    }
    (void)printf("%-9s %-16s %-8s %-10s %-22s %s\n", "metadata", addr, pid, meta_word(status, index), detail, applied);
}

static void table_print(const struct status *status) {
    char addr[32];
    char pid[16] = "-";
    (void)printf("%s: %s\n\n", status->state.dir, overall_word(status));
    (void)printf("%-9s %-16s %-8s %-10s %-22s %-12s %s\n", "ROLE", "ADDRESS", "PID", "STATE", "REPLICATION", "OFFSET",
                 "SLOTS");
    for (unsigned i = 0; i < status->state.node_count; i++) node_row_print(status, i);
    for (unsigned i = 0; i < status->state.meta_count; i++) meta_row_print(status, i);
    (void)snprintf(addr, sizeof(addr), "127.0.0.1:%u", (unsigned)status->state.proxy_port);
    if (status->proxy_alive) (void)snprintf(pid, sizeof(pid), "%d", (int)status->state.proxy.pid);
    (void)printf("%-9s %-16s %-8s %s\n", "proxy", addr, pid, proxy_word(status));
}

static void node_json(const struct status *status, unsigned index, struct kw_str *out) {
    const struct kw_cli_local_view *view = &status->views[index];
    const struct kw_cli_local_node *node = &status->state.nodes[index];
    kw_str_printf(out, "{\"host\": \"127.0.0.1\", \"port\": %u, \"pid\": %d, \"alive\": %s, \"state\": \"%s\"",
                  (unsigned)node->port, status->alive[index] ? (int)node->process.pid : 0,
                  status->alive[index] ? "true" : "false", node_word(status, index));
    if (view->answers && !view->loading) {
        kw_str_printf(
            out, ", \"role\": \"%s\", \"id\": \"%s\", \"offset\": %lld, \"slots\": \"%s\", \"slot_count\": %u",
            role_word(view), view->id, view->offset, view->slots.len > 0 ? view->slots.data : "", view->slot_count);
        if (!view->primary) {
            kw_str_printf(out, ", \"primary_port\": %u, \"link\": \"%s\"", (unsigned)view->primary_port,
                          view->link_up ? "up" : "down");
        }
    }
    kw_str_append_text(out, "}");
}

static void meta_json(const struct status *status, unsigned index, struct kw_str *out) {
    const struct kw_cli_local_meta_view *view = &status->metas[index];
    const struct kw_cli_local_meta *meta = &status->state.metas[index];
    kw_str_printf(out,
                  "{\"id\": %u, \"host\": \"127.0.0.1\", \"port\": %u, \"raft_port\": %u, \"pid\": %d, \"alive\": %s, "
                  "\"state\": \"%s\"",
                  index + 1, (unsigned)meta->port, (unsigned)meta->port + KW_PORT_RAFT_OFFSET,
                  status->meta_alive[index] ? (int)meta->process.pid : 0, status->meta_alive[index] ? "true" : "false",
                  meta_word(status, index));
    if (view->answers) {
        kw_str_append_text(out, ", \"role\": ");
        kw_cli_json_text(out, view->role);
        kw_str_printf(out, ", \"leader\": %lld, \"term\": %lld, \"applied_index\": %lld, \"attached\": %s",
                      view->leader, view->term, view->applied_index, view->attached ? "true" : "false");
    }
    kw_str_append_text(out, "}");
}

static void json_print(const struct status *status) {
    const struct kw_cli_local_state *state = &status->state;
    struct kw_str out = {0};
    kw_str_append_text(&out, "{\"dir\": ");
    kw_cli_json_text(&out, state->dir);
    kw_str_append_text(&out, ", \"server\": ");
    kw_cli_json_text(&out, state->server);
    kw_str_printf(&out, ", \"state\": \"%s\", \"shards\": %u, \"replicas\": %u,\n", overall_word(status), state->shards,
                  state->replicas);
    kw_str_printf(
        &out, " \"proxy\": {\"host\": \"127.0.0.1\", \"port\": %u, \"pid\": %d, \"alive\": %s, \"state\": \"%s\"},\n",
        (unsigned)state->proxy_port, status->proxy_alive ? (int)state->proxy.pid : 0,
        status->proxy_alive ? "true" : "false", proxy_word(status));
    kw_str_append_text(&out, " \"meta\": [");
    for (unsigned i = 0; i < state->meta_count; i++) {
        if (i > 0) kw_str_append_text(&out, ",\n          ");
        meta_json(status, i, &out);
    }
    kw_str_append_text(&out, "],\n \"nodes\": [");
    for (unsigned i = 0; i < state->node_count; i++) {
        if (i > 0) kw_str_append_text(&out, ",\n           ");
        node_json(status, i, &out);
    }
    kw_str_append_text(&out, "]}");
    (void)puts(out.data);
    kw_str_deinit(&out);
}

static int nothing_there(const struct kw_cli_local_options *options) {
    if (options->json)
        (void)puts("{\"state\": \"not running\"}");
    else
        (void)printf("There is no local cluster in %s; `keyway-cli local up` makes one.\n", options->dir);
    return KW_EXIT_NOT_RUNNING;
}

int kw_cli_local_status(const struct kw_cli_local_options *options) {
    struct status status = {0};
    if (realpath(options->dir, status.state.dir) == NULL) return nothing_there(options);
    int rc = kw_cli_local_state_load(&status.state);
    if (rc == KW_EUNKNOWN) return nothing_there(options);
    if (rc != 0) {
        kw_report_error("the state file in %s cannot be read: %s", status.state.dir,
                        rc == KW_EIO ? strerror(errno) : "it is not one of keyway-cli's");
        return KW_EXIT_FAILED;
    }
    status_read(&status);
    if (options->json)
        json_print(&status);
    else
        table_print(&status);
    int code = !status.running ? KW_EXIT_NOT_RUNNING : status.healthy ? KW_EXIT_OK : KW_EXIT_FAILED;
    status_deinit(&status);
    return code;
}
