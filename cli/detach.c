/*
 * `keyway-cli detach`: the metadata service forgets the cluster; the cluster
 * itself runs on. Asks first, unless --yes. Nothing happens on any other
 * answer than yes, nor where nobody can answer.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/base.h"
#include "cli/command.h"
#include "cli/meta.h"
#include "cli/reply.h"
#include "cli/report.h"

enum { OPT_YES = KW_CLI_META_OPT_LAST + 1 };

static const struct kw_cli_option options[] = {
    {"yes", NULL, "do not ask", OPT_YES, 0},
    KW_CLI_META_OPTIONS,
};

static int help(void) {
    (void)fputs("usage: keyway-cli detach [OPTION ...]\n"
                "\n"
                "The metadata service forgets the cluster that is attached; its nodes run on and keep their data.\n"
                "Proxies go on with the nodes that they know, and with their own --cluster-nodes.\n"
                "\n",
                stdout);
    kw_cli_args_options_print(options, KW_ARRAY_LEN(options));
    return KW_EXIT_OK;
}

static int parse(struct kw_cli_meta_target *target, bool *yes, int argc, char **argv, bool *leave) {
    struct kw_cli_args args = {
        .argc = argc, .argv = argv, .command = "detach", .options = options, .option_count = KW_ARRAY_LEN(options)};
    int id;
    *leave = true;
    while ((id = kw_cli_args_next(&args)) != KW_CLI_ARGS_END) {
        if (kw_cli_meta_target_option(target, id, args.value)) continue;
        if (id == KW_CLI_ARGS_HELP) return help();
        if (id == KW_CLI_ARGS_WORD)
            kw_report_error("'%s' is one word too many; see `keyway-cli detach --help`", args.value);
        if (id != OPT_YES) return KW_EXIT_USAGE;
        *yes = true;
    }
    *leave = false;
    return KW_EXIT_OK;
}

/* True when the answer is yes. */
static bool confirm(const redisReply *status) {
    char answer[16] = "";
    (void)printf("Detach cluster %s (%lld shards, %lld nodes)? Proxies will no longer be told of its changes. [y/N] ",
                 kw_cli_map_text(status, "cluster"), kw_cli_map_int(status, "shards", 0),
                 kw_cli_map_int(status, "nodes", 0));
    (void)fflush(stdout);
    bool answered = fgets(answer, sizeof(answer), stdin) != NULL;
    answer[strcspn(answer, "\r\n")] = '\0';
    if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0) return true;
    (void)printf("%sNothing was changed%s.\n", answered ? "" : "\n", answered ? "" : "; --yes does not ask");
    return false;
}

static int run(struct kw_cli_meta_link *link, const struct kw_cli_meta_target *target, bool yes) {
    redisReply *status = kw_cli_meta_ask(link, KW_CLI_META_LEADER, "STATUS", NULL);
    if (status == NULL) return kw_cli_meta_failed(link, target, "detach");
    int code = KW_EXIT_FAILED;
    if (kw_cli_map_int(status, "attached", 0) == 0) {
        kw_report_error("no cluster is attached");
    } else if (yes || confirm(status)) {
        redisReply *reply = kw_cli_meta_ask(link, KW_CLI_META_WRITE, "DETACH", NULL);
        if (reply == NULL) {
            code = kw_cli_meta_failed(link, target, "detach");
        } else {
            (void)printf("Detached. The cluster runs on; `keyway-cli attach HOST:PORT` takes it back.\n");
            freeReplyObject(reply);
            code = KW_EXIT_OK;
        }
    }
    freeReplyObject(status);
    return code;
}

int kw_cli_command_detach(int argc, char **argv) {
    struct kw_cli_meta_target target = {0};
    bool yes = false;
    bool leave;
    int code = parse(&target, &yes, argc, argv, &leave);
    if (leave) return code;
    code = KW_EXIT_FAILED;
    if (kw_cli_meta_target_resolve(&target) == 0) {
        struct kw_cli_meta_link *link = kw_cli_meta_link_new(&target);
        code = run(link, &target, yes);
        kw_cli_meta_link_free(link);
    }
    kw_cli_meta_target_deinit(&target);
    return code;
}
