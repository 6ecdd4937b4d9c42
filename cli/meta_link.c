/*
 * Following the leader.
 *
 * Happy path: connect to the node that answered last (at first the first of
 * the list), send, take the reply. NOTLEADER names the next one to try; a
 * node that refuses, hangs or breaks off sends us on to the next of the list;
 * NOLEADER and BUSY are asked again after a pause.
 *
 * What can fail: nobody answers within the limit, or the answer is an error
 * of its own; then the reason is kept as text. A write whose reply was lost
 * is repeated under the same id, or, where it has none, given up as unknown.
 * The one connection is the link's.
 */
#include "cli/meta_link.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "cli/link.h"
#include "cli/process.h"
#include "cli/report.h"

enum {
    LIMIT_MS = 5000,
    CONNECT_MS = 1000,
    PAUSE_MS = 50,
    WORDS_MAX = 16,
    ID_BYTES = 16,
    ID_LEN = 2 * ID_BYTES,
    ADDRESS_SIZE = KW_SEED_HOST_MAX + 16,
};

struct kw_cli_meta_link {
    const struct kw_cli_meta_target *target; /* ref */
    redisContext *context;                   /* own; NULL: not connected */
    struct kw_seed hint;                     /* the leader, as a node named it; port 0: none */
    unsigned next;                           /* of the list, to be tried next */
    unsigned limit_ms;
    int code;
    char error[512];
    char node[ADDRESS_SIZE];
};

/* What a reply means for the call. */
enum verdict { DONE, REFUSED, GO_ON, WAIT, UNSURE };

struct kw_cli_meta_link *kw_cli_meta_link_new(const struct kw_cli_meta_target *target) {
    struct kw_cli_meta_link *link = kw_calloc(1, sizeof(*link));
    link->target = target;
    link->limit_ms = LIMIT_MS;
    return link;
}

static void disconnect(struct kw_cli_meta_link *link) {
    if (link->context != NULL) redisFree(link->context);
    link->context = NULL;
}

void kw_cli_meta_link_free(struct kw_cli_meta_link *link) {
    if (link == NULL) return;
    disconnect(link);
    kw_free(link);
}

void kw_cli_meta_link_limit(struct kw_cli_meta_link *link, unsigned limit_ms) {
    link->limit_ms = limit_ms;
}

int kw_cli_meta_link_code(const struct kw_cli_meta_link *link) {
    return link->code;
}

const char *kw_cli_meta_link_error(const struct kw_cli_meta_link *link) {
    return link->error;
}

const char *kw_cli_meta_link_node(const struct kw_cli_meta_link *link) {
    return link->node;
}

static void fail(struct kw_cli_meta_link *link, int code, const char *text) {
    link->code = code;
    (void)snprintf(link->error, sizeof(link->error), "%.511s", text);
}

/* The named leader once, then the list in turn. */
static const struct kw_seed *node_choose(struct kw_cli_meta_link *link, struct kw_seed *hint) {
    if (link->hint.port != 0) {
        *hint = link->hint;
        link->hint.port = 0;
        return hint;
    }
    return &link->target->nodes[link->next++ % link->target->node_count];
}

static bool connect_next(struct kw_cli_meta_link *link) {
    char error[256];
    struct kw_seed hint;
    const struct kw_seed *node = node_choose(link, &hint);
    bool v6 = strchr(node->host, ':') != NULL;
    (void)snprintf(link->node, sizeof(link->node), v6 ? "[%s]:%u" : "%s:%u", node->host, node->port);
    unsigned wait_ms = link->limit_ms < CONNECT_MS ? link->limit_ms : CONNECT_MS;
    link->context =
        kw_cli_link_open_at(node->host, node->port, NULL, link->target->secret, wait_ms, error, sizeof(error));
    if (link->context != NULL) return true;
    bool refused = strncmp(error, "WRONGPASS", 9) == 0;
    char text[sizeof(link->node) + sizeof(error) + 32];
    (void)snprintf(text, sizeof(text), refused ? "%s does not take the secret" : "%s: %s", link->node, error);
    fail(link, refused ? KW_EINVALID : KW_EUNREACHABLE, text);
    return false;
}

/* NOTLEADER host:port */
static void hint_take(struct kw_cli_meta_link *link, const char *address) {
    char why[64];
    struct kw_seed *seeds = NULL;
    int count = kw_seeds_parse(&seeds, address, why, sizeof(why));
    if (count > 0) link->hint = seeds[0];
    if (count >= 0) kw_free(seeds);
}

static const struct error_row {
    const char *word;
    int code;
    enum verdict verdict;
} error_rows[] = {
    {"NOTLEADER", KW_ENOTLEADER, GO_ON}, {"NOLEADER", KW_ENOTLEADER, WAIT},   {"BUSY", KW_ELIMIT, WAIT},
    {"INDOUBT", KW_EINDOUBT, UNSURE},    {"NOAUTH", KW_EINVALID, REFUSED},    {"WRONGPASS", KW_EINVALID, REFUSED},
    {"NOTFOUND", KW_EUNKNOWN, REFUSED},  {"CONFLICT", KW_ECONFLICT, REFUSED}, {"LOADING", KW_EUNREACHABLE, GO_ON},
};

/* Judges an error reply and keeps its text. */
static enum verdict error_judge(struct kw_cli_meta_link *link, const char *text) {
    size_t len = strcspn(text, " ");
    for (size_t i = 0; i < KW_ARRAY_LEN(error_rows); i++) {
        const struct error_row *row = &error_rows[i];
        if (strlen(row->word) != len || strncmp(text, row->word, len) != 0) continue;
        if (row->code == KW_EINVALID)
            fail(link, row->code,
                 link->target->secret[0] == '\0'
                     ? "it wants a secret: give --secret-file, or KEYWAY_SECRET in the environment"
                     : "it does not take the secret");
        else
            fail(link, row->code, text);
        if (row->verdict == GO_ON && text[len] == ' ') hint_take(link, text + len + 1);
        return row->verdict;
    }
    fail(link, KW_EPROTOCOL, strncmp(text, "ERR ", 4) == 0 ? text + 4 : text);
    return REFUSED;
}

/* One try. On DONE the reply is the caller's. */
static enum verdict attempt(struct kw_cli_meta_link *link, bool once, uint64_t deadline_ms, const char **words,
                            const size_t *lens, size_t count, redisReply **reply) {
    if (link->context == NULL && !connect_next(link)) return link->code == KW_EINVALID ? REFUSED : GO_ON;
    uint64_t now = kw_clock_ms();
    uint64_t left_ms = deadline_ms > now ? deadline_ms - now : 1;
    if (!once && left_ms > link->limit_ms / 2) left_ms = link->limit_ms / 2 + 1; /* leaves time for another node */
    struct timeval timeout = {.tv_sec = (long)(left_ms / 1000), .tv_usec = (long)(left_ms % 1000) * 1000L};
    (void)redisSetTimeout(link->context, timeout);
    *reply = redisCommandArgv(link->context, (int)count, words, lens);
    if (*reply == NULL) {
        char text[sizeof(link->error)];
        bool late = kw_clock_ms() - now >= left_ms;
        (void)snprintf(text, sizeof(text), "%s: %s", link->node, late ? "no answer in time" : link->context->errstr);
        fail(link, KW_EUNREACHABLE, text);
        return UNSURE;
    }
    if ((*reply)->type != REDIS_REPLY_ERROR) return DONE;
    enum verdict verdict = error_judge(link, (*reply)->str);
    freeReplyObject(*reply);
    *reply = NULL;
    return verdict;
}

static redisReply *call(struct kw_cli_meta_link *link, enum kw_cli_meta_mode mode, const char **words,
                        const size_t *lens, size_t count) {
    uint64_t deadline_ms = kw_clock_ms() + link->limit_ms;
    bool once = mode == KW_CLI_META_ONCE;
    bool unsure = false; /* an answer was lost: the refusal of a later try says nothing of that one */
    for (unsigned tries = 1;; tries++) {
        redisReply *reply = NULL;
        enum verdict verdict = attempt(link, once, deadline_ms, words, lens, count, &reply);
        if (verdict == DONE) return reply;
        if (verdict == REFUSED) return NULL;
        disconnect(link);
        unsure |= verdict == UNSURE;
        bool late = kw_clock_ms() >= deadline_ms;
        if (unsure && (once || (late && mode == KW_CLI_META_WRITE))) link->code = KW_EINDOUBT;
        if (late || (unsure && once)) return NULL;
        /* A named leader is tried at once; a fruitless round is followed by a pause. */
        bool pause =
            verdict == WAIT || (link->hint.port == 0 && tries % link->target->node_count == 0) || tries > WORDS_MAX;
        if (pause) kw_process_pause_ms(PAUSE_MS);
    }
}

static void id_make(char id[ID_LEN + 1]) {
    unsigned char bytes[ID_BYTES];
    KW_ASSERT(getrandom(bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
    for (unsigned i = 0; i < ID_BYTES; i++) (void)snprintf(id + 2 * (size_t)i, 3, "%02x", bytes[i]);
}

redisReply *kw_cli_meta_ask_words(struct kw_cli_meta_link *link, enum kw_cli_meta_mode mode, const char **words,
                                  const size_t *lens, size_t count) {
    const char *all[WORDS_MAX + 3] = {"KEYWAY"};
    size_t sizes[WORDS_MAX + 3] = {6};
    char id[ID_LEN + 1];
    size_t n = 1;
    KW_ASSERT(count <= WORDS_MAX);
    if (mode == KW_CLI_META_LEADER) {
        all[n] = "LINEAR";
        sizes[n++] = 6;
    } else if (mode == KW_CLI_META_WRITE) {
        id_make(id);
        all[n] = "ID";
        sizes[n++] = 2;
        all[n] = id;
        sizes[n++] = ID_LEN;
    }
    for (size_t i = 0; i < count; i++) {
        all[n] = words[i];
        sizes[n++] = lens[i];
    }
    return call(link, mode, all, sizes, n);
}

redisReply *kw_cli_meta_ask(struct kw_cli_meta_link *link, enum kw_cli_meta_mode mode, ...) {
    const char *words[WORDS_MAX];
    size_t lens[WORDS_MAX];
    size_t count = 0;
    va_list args;
    va_start(args, mode);
    for (const char *word = va_arg(args, const char *); word != NULL; word = va_arg(args, const char *)) {
        KW_ASSERT(count < WORDS_MAX);
        words[count] = word;
        lens[count++] = strlen(word);
    }
    va_end(args);
    return kw_cli_meta_ask_words(link, mode, words, lens, count);
}
