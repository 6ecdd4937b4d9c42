/*
 * The page about commands, in Markdown: an introduction, what is different for
 * all, then a table for each of Redis's groups. Whether and how a command is
 * served is the planner's own word, so that the page cannot say anything else.
 * Nothing can fail but the stream, which whoever opened it looks at.
 */
#include "cluster/command_reference.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "cluster/command_internal.h"
#include "cluster/planner.h"

/* The texts, by the kind of row. */
struct text {
    const char *name, *text;
};

static const char *const intro[] = {
#define INTRO(text) text,
#include "cluster/deviation_table.inc"
};

static const struct text general[] = {
#define GENERAL(title, text) {title, text},
#include "cluster/deviation_table.inc"
};

static const struct text hows[] = {
#define HOW(name, text) {name, text},
#include "cluster/deviation_table.inc"
};

static const struct text deviations[] = {
#define DEVIATION(name, text) {name, text},
#include "cluster/deviation_table.inc"
};

/* By command id. */
static const char *const group_of[] = {
#define DOC(summary, since, group, ...) group,
#include "cluster/command_table.inc"
};

/* The groups, in the order of the page. */
static const struct {
    const char *name, *title;
} groups[] = {
    {"generic", "Keys"},
    {"string", "Strings"},
    {"bitmap", "Bitmaps"},
    {"hyperloglog", "HyperLogLog"},
    {"list", "Lists"},
    {"hash", "Hashes"},
    {"set", "Sets"},
    {"sorted-set", "Sorted sets"},
    {"geo", "Geo"},
    {"stream", "Streams"},
    {"pubsub", "Pub/sub"},
    {"transactions", "Transactions"},
    {"scripting", "Scripts and functions"},
    {"connection", "Connection"},
    {"server", "Server"},
    {"cluster", "Cluster"},
};

static const char by_one_key[] = "by its key";
static const char by_keys[] = "by its keys, which must share a slot";

static const char *const served[] = {
    [KW_SERVE_SPLIT_GET] = "split by slot; the values in the order of the keys",
    [KW_SERVE_SPLIT_SET] = "split by slot; OK when every part succeeded",
    [KW_SERVE_SPLIT_SUM] = "split by slot; the numbers are added",
    [KW_SERVE_LOCAL] = "by the proxy",
    [KW_SERVE_SHARDS] = "every shard",
    [KW_SERVE_ANY] = "any shard",
    [KW_SERVE_SLOT] = "the shard of the slot that it names",
    [KW_SERVE_BLOCKING] = "by its keys, which must share a slot; on a private link while it blocks",
    [KW_SERVE_PUBLISH] = "the shard where the channel lives",
    [KW_SERVE_WATCH] = "by its keys, which must share a slot; on a private link until EXEC or UNWATCH",
};

static const char *text_named(const struct text *texts, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(texts[i].name, name) == 0) return texts[i].text;
    }
    return NULL;
}

/* What can be called: a container cannot be without a subcommand, but for COMMAND. */
static bool callable(const struct kw_command *cmd) {
    return !cmd->container || cmd->arity == -1;
}

/* Of the command, else of its container, unless that has a row of its own on the page. */
static const char *deviation_of(const struct kw_command *cmd) {
    const char *text = text_named(deviations, KW_ARRAY_LEN(deviations), cmd->name);
    if (text || !cmd->parent || callable(cmd->parent)) return text;
    return text_named(deviations, KW_ARRAY_LEN(deviations), cmd->parent->name);
}

/*
 * The planner's reason to refuse the command whatever its arguments are; false when it serves it. A command with keys
 * is refused by the serve table only; one without is asked about with arguments of no meaning.
 */
static bool refusal(struct kw_planner *planner, const struct kw_command *cmd, char *reason, size_t size) {
    static const char between[] = "is not supported through Keyway";
    struct kw_arg argv[16];
    struct kw_plan plan;
    if (kw_planner_serve(cmd) != KW_SERVE_REFUSED && kw_command_has_keys(cmd)) return false;
    size_t argc = (size_t)abs(cmd->arity);
    KW_ASSERT(argc <= KW_ARRAY_LEN(argv));
    for (size_t i = 0; i < argc; i++) argv[i] = (struct kw_arg){"x", 1};
    kw_planner_plan(planner, cmd, argv, argc, &plan);
    if (plan.kind != KW_PLAN_ERROR) return false;
    const char *at = memmem(plan.error->data, plan.error->len, between, sizeof(between) - 1);
    const char *end = plan.error->data + plan.error->len - 2;
    if (at) at += sizeof(between) - 1;
    if (!at || end - at < 2) at = end - 2; /* no reason is given */
    snprintf(reason, size, "%.*s", (int)(end - at - 2), at + 2);
    return true;
}

static void print_cell(const char *text, FILE *to) {
    for (; *text; text++) {
        if (*text == '|' || *text == '<') fputc('\\', to);
        fputc(*text, to);
    }
}

/* "CONFIG GET" */
static void print_name(const struct kw_command *cmd, FILE *to) {
    fputc('`', to);
    for (const char *c = cmd->name; *c; c++) {
        fputc(*c == '|' ? ' ' : *c >= 'a' && *c <= 'z' ? *c - 32 : *c, to);
    }
    fputs(cmd->origin == KW_COMMAND_VALKEY ? "` (Valkey 8)" : "`", to);
}

static const char *how_served(const struct kw_command *cmd) {
    enum kw_serve serve = kw_planner_serve(cmd);
    if (serve != KW_SERVE_KEYS) return served[serve];
    if (!kw_command_has_keys(cmd)) return served[KW_SERVE_ANY];
    return cmd->keys_simple && cmd->first_key == cmd->last_key ? by_one_key : by_keys;
}

static void print_row(struct kw_planner *planner, const struct kw_command *cmd, FILE *to) {
    char reason[512];
    fputs("| ", to);
    print_name(cmd, to);
    fputs(" | ", to);
    if (refusal(planner, cmd, reason, sizeof(reason))) {
        fputs("refused | ", to);
        print_cell(reason, to);
    } else {
        const char *how = text_named(hows, KW_ARRAY_LEN(hows), cmd->name);
        const char *deviation = deviation_of(cmd);
        print_cell(how_served(cmd), to);
        if (how) fputs(": ", to);
        print_cell(how ? how : "", to);
        fputs(" | ", to);
        print_cell(deviation ? deviation : "", to);
    }
    fputs(" |\n", to);
}

static int by_name(const void *a, const void *b) {
    const struct kw_command *const *one = a, *const *two = b;
    return strcmp((*one)->name, (*two)->name);
}

static void print_group(struct kw_planner *planner, const char *name, const char *title, FILE *to) {
    unsigned total = kw_command_table_count(), count = 0;
    const struct kw_command **commands = kw_calloc(total, sizeof(*commands));
    for (unsigned id = 0; id < total; id++) {
        const struct kw_command *cmd = kw_command_by_id(id);
        if (callable(cmd) && strcmp(group_of[id], name) == 0) commands[count++] = cmd;
    }
    qsort(commands, count, sizeof(*commands), by_name);
    fprintf(to, "\n## %s\n\n| command | served | different from Redis 7.0 |\n|---|---|---|\n", title);
    for (unsigned i = 0; i < count; i++) print_row(planner, commands[i], to);
    kw_free(commands);
}

void kw_command_reference(FILE *to) {
    struct kw_planner *planner = kw_planner_new();
    fputs("# Commands\n", to);
    for (size_t i = 0; i < KW_ARRAY_LEN(intro); i++) fprintf(to, "\n%s\n", intro[i]);
    fputs("\n## What is different for all\n\n", to);
    for (size_t i = 0; i < KW_ARRAY_LEN(general); i++) fprintf(to, "* **%s.** %s\n", general[i].name, general[i].text);
    for (size_t i = 0; i < KW_ARRAY_LEN(groups); i++) print_group(planner, groups[i].name, groups[i].title, to);
    kw_planner_free(planner);
}
