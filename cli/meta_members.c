/*
 * `keyway-cli meta list|add|remove|transfer`.
 *
 * Happy path: judge the words, send the one command to the leader, show the
 * members as they are then. Membership changes carry no request id, so an
 * answer that is lost is said to be unknown, never sent again.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "cli/grid.h"
#include "cli/meta.h"
#include "cli/reply.h"
#include "cli/report.h"
#include "cli/status.h"

enum { ID_SIZE = 24, ADDRESS_SIZE = 288, LOOK_MS = 2000 };

static bool id_parse(const char *text, char id[ID_SIZE]) {
    uint64_t number;
    if (!kw_cli_args_number("ID", text, 1, INT64_MAX, &number)) return false;
    (void)snprintf(id, ID_SIZE, "%llu", (unsigned long long)number);
    return true;
}

/* HOST:PORT[:RAFTPORT]; an IPv6 host in brackets. Reported. */
static bool address_check(const char *text) {
    char host_port[ADDRESS_SIZE];
    char why[128];
    uint64_t port;
    const char *close = text[0] == '[' ? strchr(text, ']') : NULL;
    const char *first = strchr(close != NULL ? close : text, ':');
    const char *second = first != NULL ? strchr(first + 1, ':') : NULL;
    size_t len = second != NULL ? (size_t)(second - text) : strlen(text);
    if (len >= sizeof(host_port) || strpbrk(text, ", \t\n") != NULL || first == NULL) {
        kw_report_error("'%s' is no address: it is HOST:PORT or HOST:PORT:RAFTPORT, an IPv6 host in brackets", text);
        return false;
    }
    (void)snprintf(host_port, sizeof(host_port), "%.*s", (int)len, text);
    if (kw_seeds_parse(NULL, host_port, why, sizeof(why)) < 0) {
        kw_report_error("'%s' is no address: %s", text, why);
        return false;
    }
    return second == NULL || kw_cli_args_number("RAFTPORT", second + 1, 1, UINT16_MAX, &port);
}

int kw_cli_meta_list(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options) {
    struct kw_cli_status status;
    struct kw_str out = {0};
    unsigned columns;
    unsigned rows;
    kw_cli_meta_link_limit(link, LOOK_MS);
    kw_cli_status_read_members(&status, link, &options->target);
    if (!status.reached) return kw_cli_meta_failed(link, &options->target, "meta list");
    kw_cli_grid_terminal(&columns, &rows);
    if (options->json) {
        kw_cli_status_members_json(&status, &out);
        kw_str_append_text(&out, "\n");
    } else {
        kw_cli_status_members_print(&status, columns, &out);
        if (kw_cli_map_int(status.status, "leader", 0) == 0) kw_str_append_text(&out, "\nThere is no leader now.\n");
    }
    (void)fputs(out.data, stdout);
    kw_str_deinit(&out);
    kw_cli_status_deinit(&status);
    return KW_EXIT_OK;
}

/* Shows the members after a change that has succeeded; that they cannot be shown changes nothing about it. */
static int done(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options, redisReply *reply) {
    freeReplyObject(reply);
    (void)fflush(stdout);
    (void)kw_cli_meta_list(link, options);
    return KW_EXIT_OK;
}

int kw_cli_meta_add(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options) {
    char id[ID_SIZE];
    if (!id_parse(options->words[0], id) || !address_check(options->words[1])) return KW_EXIT_USAGE;
    redisReply *reply = kw_cli_meta_ask(link, KW_CLI_META_ONCE, "META", "ADD", id, options->words[1], NULL);
    if (reply == NULL) return kw_cli_meta_failed(link, &options->target, "meta add");
    (void)printf("Metadata node %s (%s) is a voter now.\n\n", id, options->words[1]);
    return done(link, options, reply);
}

int kw_cli_meta_remove(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options) {
    char id[ID_SIZE];
    if (!id_parse(options->words[0], id)) return KW_EXIT_USAGE;
    redisReply *reply = kw_cli_meta_ask(link, KW_CLI_META_ONCE, "META", "REMOVE", id, NULL);
    if (reply == NULL) return kw_cli_meta_failed(link, &options->target, "meta remove");
    (void)printf("Metadata node %s is out; its process can be ended, and its id is spent.\n\n", id);
    return done(link, options, reply);
}

int kw_cli_meta_transfer(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options) {
    char id[ID_SIZE];
    bool named = options->word_count > 0;
    if (named && !id_parse(options->words[0], id)) return KW_EXIT_USAGE;
    redisReply *reply =
        kw_cli_meta_ask(link, KW_CLI_META_ONCE, "META", "TRANSFER", named ? id : (const char *)NULL, NULL);
    if (reply == NULL) return kw_cli_meta_failed(link, &options->target, "meta transfer");
    if (named)
        (void)printf("Metadata node %s leads now.\n\n", id);
    else
        (void)printf("Another metadata node leads now.\n\n");
    return done(link, options, reply);
}
