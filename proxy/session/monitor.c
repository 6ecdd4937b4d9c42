/*
 * See monitor.h. A batch of lines is immutable and counted by reference; each
 * worker copies it once into a chunk of its own that all its monitors share. A
 * monitor that does not read is closed by its output limit; nobody waits for
 * it. Secrets in arguments are never written.
 */
#include "proxy/session/monitor.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/resp_request.h"
#include "proxy/local/local.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/alert.h"
#include "proxy/session/intake.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

enum { BATCH_MAX = 64 * 1024 };

/* Lines on their way to the workers. */
struct batch {
    _Atomic unsigned refs;
    struct kw_str lines;
};

struct delivery {
    struct kw_message message;
    struct batch *batch; /* one reference */
};

void kw_monitor_begin(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    if (session->monitor) return;
    kw_monitor_flush(worker); /* what ran before is not for it */
    session->monitor = true;
    kw_session_rare(session)->monitor_next = worker->monitors;
    worker->monitors = session;
    atomic_fetch_add(&worker->monitor_count, 1);
    atomic_fetch_add(&worker->alert->word, KW_ALERT_MONITOR);
}

void kw_monitor_end(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    if (!session->monitor) return;
    session->monitor = false;
    struct kw_session **at = &worker->monitors;
    while (*at != session) at = &(*at)->rare->monitor_next;
    *at = session->rare->monitor_next;
    atomic_fetch_sub(&worker->monitor_count, 1);
    atomic_fetch_sub(&worker->alert->word, KW_ALERT_MONITOR);
}

bool kw_monitor_refuses(const struct kw_session *session, const struct kw_command *cmd) {
    return session->monitor && cmd->flags & (KW_CMD_READONLY | KW_CMD_WRITE | KW_CMD_MAY_REPLICATE);
}

static void quote_bytes(struct kw_str *line, const char *bytes, size_t len) {
    static const char escaped[] = "\\\"\n\r\t\a\b", letters[] = "\\\"nrtab";
    size_t plain = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        const char *at = c ? strchr(escaped, c) : NULL;
        if (!at && c >= ' ' && c <= '~') continue;
        kw_str_append(line, bytes + plain, i - plain);
        plain = i + 1;
        if (at) {
            const char pair[2] = {'\\', letters[at - escaped]};
            kw_str_append(line, pair, 2);
        } else {
            kw_str_printf(line, "\\x%02x", c);
        }
    }
    kw_str_append(line, bytes + plain, len - plain);
}

/* Where secrets stand: behind the word (from argument 1 on when there is no word), so many. */
static const struct secret {
    const char *command;
    const char *word;
    size_t count;
} secrets[] = {
    {"auth", NULL, SIZE_MAX},
    {"hello", "auth", 2},
    {"migrate", "auth", 1},
    {"migrate", "auth2", 2},
};

/* How many arguments from `i` on are secret, going by the one before. */
static size_t secrets_from(const struct kw_command *cmd, const struct kw_arg *argv, size_t i) {
    for (size_t row = 0; row < KW_ARRAY_LEN(secrets); row++) {
        if (strcmp(secrets[row].command, cmd->name) != 0) continue;
        const char *word = secrets[row].word;
        if (word ? i > 1 && argv[i - 1].data && kw_arg_is(&argv[i - 1], word) : i == 1) return secrets[row].count;
    }
    return 0;
}

static void print_arg(struct kw_str *line, const struct kw_arg *arg, const struct kw_big *big) {
    kw_str_append(line, " \"", 2);
    if (arg->data) {
        quote_bytes(line, arg->data, arg->len);
    } else if (big) {
        for (const struct kw_seg *seg = big->data.head; seg; seg = seg->next) {
            quote_bytes(line, seg->chunk->data + seg->off, seg->len);
        }
    } else {
        kw_str_printf(line, "... (%zu more bytes)", arg->len);
    }
    kw_str_append(line, "\"", 1);
}

static void print_args(struct kw_str *line, const struct kw_command *cmd, const struct kw_arg *argv,
                       const struct kw_request_parse *parse, const struct kw_big *bigs) {
    size_t secret = 0;
    size_t nth = 0;
    for (uint32_t i = 0; i < parse->argc_seen; i++) {
        if (secret == 0) secret = secrets_from(cmd, argv, i);
        const struct kw_big *big = parse->args[i].big && bigs ? &bigs[nth++] : NULL;
        if (secret > 0) {
            secret--;
            kw_str_append_text(line, " \"(redacted)\"");
        } else {
            print_arg(line, &argv[i], big);
        }
    }
    if (parse->argc > parse->argc_seen) {
        kw_str_printf(line, " \"... (%u more arguments)\"", parse->argc - parse->argc_seen);
    }
    kw_str_append(line, "\r\n", 2);
}

static void print_head(struct kw_str *line, const struct kw_session *session) {
    char peer[80];
    uint64_t now_us = kw_clock_wall_us();
    kw_session_peer(session, peer, sizeof(peer));
    kw_str_printf(line, "+%llu.%06llu [0 %s]", (unsigned long long)(now_us / 1000000),
                  (unsigned long long)(now_us % 1000000), peer);
}

void kw_monitor_line(const struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv,
                     const struct kw_request_parse *parse, const struct kw_big *bigs, struct kw_str *line) {
    if (kw_alert_word(session->worker->alert) < KW_ALERT_MONITOR || cmd->flags & KW_CMD_ADMIN) return;
    print_head(line, session);
    print_args(line, cmd, argv, parse, bigs);
}

void kw_monitor_show(struct kw_session *session, const struct kw_str *line) {
    struct kw_worker *worker = session->worker;
    if (!line->len) return;
    kw_str_append(&worker->monitor_lines, line->data, line->len);
    /* What a monitor itself does it sees between its replies. */
    if (session->monitor || worker->monitor_lines.len >= BATCH_MAX) kw_monitor_flush(worker);
}

static void show_frame(struct kw_session *session, const struct kw_request_parse *parse, const char *base) {
    struct kw_arg *argv = kw_calloc(parse->argc, sizeof(*argv));
    for (uint32_t i = 0; i < parse->argc; i++) {
        argv[i] = (struct kw_arg){base + parse->args[i].off, parse->args[i].len};
    }
    const struct kw_command *cmd = kw_command_lookup(argv[0].data, argv[0].len);
    if (cmd && cmd->container && parse->argc > 1) {
        const struct kw_command *sub = kw_command_lookup_sub(cmd, argv[1].data, argv[1].len);
        if (sub) cmd = sub;
    }
    struct kw_str line = {0};
    if (cmd) kw_monitor_line(session, cmd, argv, parse, NULL, &line);
    kw_monitor_show(session, &line);
    kw_str_deinit(&line);
    kw_free(argv);
}

void kw_monitor_show_queued(struct kw_session *session, const struct kw_request *req) {
    if (!req->frame.chunk || req->skip_total < 2) return;
    const char *base = req->frame.chunk->data + req->frame.off;
    size_t left = req->frame.len;
    struct kw_request_parse parse;
    kw_request_parse_init(&parse);
    /* Replies that are swallowed: MULTI's own and one for each queued command. */
    for (uint32_t i = 0; i < req->skip_total; i++) {
        if (kw_request_parse(&parse, &kw_request_unlimited, base, left) != KW_REQUEST_COMPLETE) break;
        if (i > 0) show_frame(session, &parse, base);
        base += parse.frame_len;
        left -= parse.frame_len;
        kw_request_parse_reset(&parse);
    }
    kw_request_parse_deinit(&parse);
}

static void batch_put(struct batch *batch) {
    if (atomic_fetch_sub(&batch->refs, 1) > 1) return;
    kw_str_deinit(&batch->lines);
    kw_free(batch);
}

/* Every monitor of the worker gets the same chunk. */
static void deliver(struct kw_worker *worker, const struct kw_str *lines) {
    if (!worker->monitors) return;
    struct kw_chunk *chunk = kw_chunk_new_try(worker->pool, lines->len);
    struct kw_session *next;
    if (chunk) memcpy(chunk->data, lines->data, chunk->len = lines->len);
    for (struct kw_session *session = worker->monitors; session; session = next) {
        next = session->rare->monitor_next;
        if (session->reply_off || session->close_after_reply) continue;
        struct kw_outq frame = {0};
        if (!chunk || kw_outq_ref_try(&frame, worker->pool, chunk, 0, chunk->len)) {
            kw_session_close(session);
            continue;
        }
        kw_session_push(session, &frame);
        if (kw_session_over_limit(session)) kw_session_close(session);
    }
    if (chunk) kw_chunk_unref(chunk);
}

static void take_lines(struct kw_worker *worker, struct kw_message *message) {
    struct delivery *delivery = KW_CONTAINER_OF(message, struct delivery, message);
    deliver(worker, &delivery->batch->lines);
    batch_put(delivery->batch);
    kw_free(delivery);
}

static void post(struct kw_worker *to, struct batch *batch) {
    struct delivery *delivery = kw_calloc(1, sizeof(*delivery));
    delivery->message.run = take_lines;
    delivery->batch = batch;
    atomic_fetch_add(&batch->refs, 1);
    if (kw_worker_post(to, &delivery->message)) return;
    batch_put(batch);
    kw_free(delivery);
}

void kw_monitor_flush(struct kw_worker *worker) {
    if (!worker->monitor_lines.len) return;
    struct batch *batch = kw_calloc(1, sizeof(*batch));
    atomic_init(&batch->refs, 1);
    batch->lines = worker->monitor_lines;
    worker->monitor_lines = (struct kw_str){0};
    for (unsigned i = 0; i < kw_server_worker_count(worker->server); i++) {
        struct kw_worker *other = kw_server_worker(worker->server, i);
        if (other != worker && atomic_load(&other->monitor_count) > 0) post(other, batch);
    }
    deliver(worker, &batch->lines);
    batch_put(batch);
}
