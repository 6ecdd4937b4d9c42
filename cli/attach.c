/*
 * `keyway-cli attach`: hands a running Redis Cluster over to the metadata
 * service. Happy path: look at the cluster through the first address that
 * answers, hand its topology to the leader, show the shards. Nothing in the
 * cluster itself is changed. What stands in the way is reported where it is
 * found, before anything is written.
 */
#include "cli/attach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "cli/command.h"
#include "cli/grid.h"
#include "cli/meta.h"
#include "cli/reply.h"
#include "cli/report.h"
#include "cli/status.h"

#define PASSWORD_ENV "KEYWAY_CLUSTER_PASSWORD"

enum { OPT_USER = KW_CLI_META_OPT_LAST + 1, OPT_REPLACE };

static const struct kw_cli_option options[] = {
    {"username", "U", "user at the Redis nodes (its password: " PASSWORD_ENV "\nin the environment)", OPT_USER, 0},
    {"replace", NULL, "in place of another cluster that is attached", OPT_REPLACE, 0},
    KW_CLI_META_OPTIONS,
};

static int help(void) {
    (void)fputs("usage: keyway-cli attach HOST:PORT [HOST:PORT ...] [OPTION ...]\n"
                "\n"
                "Adopts the Redis Cluster that HOST:PORT is a node of (of several addresses, the first that answers):\n"
                "its nodes and slots become the map that proxies follow. The cluster itself is not changed.\n"
                "\n",
                stdout);
    kw_cli_args_options_print(options, KW_ARRAY_LEN(options));
    (void)fputs("\nThe metadata nodes log in with their own settings: cluster-username, cluster-password.\n", stdout);
    return KW_EXIT_OK;
}

struct request {
    struct kw_cli_meta_target target;
    struct kw_cli_attach_login login;
    struct kw_str addresses; /* own; separated by commas */
    bool replace;
};

/* Returns KW_EXIT_OK to go on; *leave says to leave with what is returned. */
static int parse(struct request *request, int argc, char **argv, bool *leave) {
    struct kw_cli_args args = {
        .argc = argc, .argv = argv, .command = "attach", .options = options, .option_count = KW_ARRAY_LEN(options)};
    int id;
    *leave = true;
    while ((id = kw_cli_args_next(&args)) != KW_CLI_ARGS_END) {
        if (kw_cli_meta_target_option(&request->target, id, args.value)) continue;
        switch (id) {
        case KW_CLI_ARGS_HELP: return help();
        case KW_CLI_ARGS_WORD:
            kw_str_printf(&request->addresses, "%s%s", request->addresses.len > 0 ? "," : "", args.value);
            break;
        case OPT_USER: request->login.user = args.value; break;
        case OPT_REPLACE: request->replace = true; break;
        default: return KW_EXIT_USAGE;
        }
    }
    if (request->addresses.len == 0) {
        kw_report_error("which cluster? It is `keyway-cli attach HOST:PORT`, any of its nodes");
        return KW_EXIT_USAGE;
    }
    request->login.password = getenv(PASSWORD_ENV);
    if (request->login.user != NULL && request->login.password == NULL) {
        kw_report_error("--username goes with a password: put it into " PASSWORD_ENV " in the environment");
        return KW_EXIT_USAGE;
    }
    *leave = false;
    return KW_EXIT_OK;
}

/* Asks the addresses in turn. 0, or an error that was reported. */
static int cluster_look(const struct request *request, struct kw_str *text) {
    char why[256];
    struct kw_seed *nodes = NULL;
    int count = kw_seeds_parse(&nodes, request->addresses.data, why, sizeof(why));
    if (count < 0) {
        kw_report_error("%s", why);
        return KW_EINVALID;
    }
    int rc = KW_EUNREACHABLE;
    for (int i = 0; i < count && rc == KW_EUNREACHABLE; i++) rc = kw_cli_attach_probe(&nodes[i], &request->login, text);
    kw_free(nodes);
    return rc;
}

static int shards_show(struct kw_cli_meta_link *link, long long version) {
    struct kw_str out = {0};
    unsigned columns;
    unsigned rows;
    redisReply *shards = kw_cli_meta_ask(link, KW_CLI_META_LEADER, "SHARDS", NULL);
    redisReply *nodes = kw_cli_meta_ask(link, KW_CLI_META_LEADER, "NODES", NULL);
    (void)printf("Attached: %zu shards, %zu nodes, map %lld.\n\n", kw_cli_list_len(shards), kw_cli_list_len(nodes),
                 version);
    kw_cli_grid_terminal(&columns, &rows);
    kw_cli_status_shards_print(shards, nodes, columns, &out);
    (void)fputs(out.data, stdout);
    kw_str_deinit(&out);
    if (shards != NULL) freeReplyObject(shards);
    if (nodes != NULL) freeReplyObject(nodes);
    return KW_EXIT_OK;
}

static int hand_over(const struct request *request, const struct kw_str *text) {
    struct kw_cli_meta_link *link = kw_cli_meta_link_new(&request->target);
    redisReply *reply = kw_cli_meta_ask(link, KW_CLI_META_WRITE, "ATTACH", text->data,
                                        request->replace ? "REPLACE" : (const char *)NULL, NULL);
    int code;
    if (reply == NULL) {
        code = kw_cli_meta_failed(link, &request->target, "attach");
    } else {
        code = shards_show(link, kw_cli_reply_int(reply, 0));
        freeReplyObject(reply);
        if (request->login.password != NULL)
            (void)printf(
                "\nThe metadata nodes need a login there, too: their cluster-username and cluster-password.\n");
    }
    kw_cli_meta_link_free(link);
    return code;
}

int kw_cli_command_attach(int argc, char **argv) {
    struct request request = {0};
    struct kw_str text = {0};
    bool leave;
    int code = parse(&request, argc, argv, &leave);
    if (!leave) {
        code = KW_EXIT_FAILED;
        if (kw_cli_meta_target_resolve(&request.target) == 0 && cluster_look(&request, &text) == 0)
            code = hand_over(&request, &text);
        kw_cli_meta_target_deinit(&request.target);
    }
    kw_str_deinit(&text);
    kw_str_deinit(&request.addresses);
    return code;
}
