/*
 * A ring that grows to slowlog-max-len; the limits on arguments are those of Redis (slowlog.h). An entry takes over the
 * buffer of the one that it displaces, and an address is asked of the kernel once: a full ring costs no allocation and
 * no system call. What a name and an argument leave in `words` is its length and no more bytes of it than are shown.
 */
#include "proxy/slowlog.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arg.h"
#include "base/clock.h"
#include "proxy/request/group.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

enum { ARGS_MAX = 32, ARG_BYTES_MAX = 128, NAME_BYTES_MAX = 63 };
enum { FIRST_CAP = 16 };
/* A power of two: ids are given one after the other, so as many clients find their address here. */
enum { ADDRESSES = 1024 };

struct known_address {
    uint64_t client_id; /* 0: the row is free */
    union kw_slow_address address;
};

struct kw_slowlog {
    struct kw_slow_entry *entries; /* own; the oldest is at `first` */
    size_t first;
    size_t count;
    size_t cap;                      /* 0 or a power of two */
    struct known_address *addresses; /* own; by client id; NULL until the first entry */
    uint64_t turn_us;                /* the loop turn of the last entry, */
    uint64_t turn_wall_s;            /* and its time for people */
};

static _Atomic uint64_t next_id;

struct kw_slowlog *kw_slowlog_new(void) {
    return kw_calloc(1, sizeof(struct kw_slowlog));
}

static struct kw_slow_entry *nth(const struct kw_slowlog *log, size_t n) {
    return &log->entries[(log->first + n) & (log->cap - 1)];
}

void kw_slow_entry_deinit(struct kw_slow_entry *entry) {
    kw_str_deinit(&entry->words);
}

void kw_slowlog_clear(struct kw_slowlog *log) {
    for (size_t i = 0; i < log->count; i++) kw_slow_entry_deinit(nth(log, i));
    kw_free(log->entries);
    kw_free(log->addresses);
    *log = (struct kw_slowlog){0};
}

void kw_slowlog_free(struct kw_slowlog *log) {
    if (!log) return;
    kw_slowlog_clear(log);
    kw_free(log);
}

size_t kw_slowlog_length(const struct kw_slowlog *log) {
    return log->count;
}

static void grow(struct kw_slowlog *log) {
    size_t cap = log->cap ? log->cap * 2 : FIRST_CAP;
    struct kw_slow_entry *entries = kw_calloc(cap, sizeof(*entries));
    for (size_t i = 0; i < log->count; i++) entries[i] = *nth(log, i);
    kw_free(log->entries);
    log->entries = entries;
    log->first = 0;
    log->cap = cap;
}

/* A new entry without words. The oldest ones beyond `max` go for it, and the last of these leaves it its buffer. */
static struct kw_slow_entry *claim(struct kw_slowlog *log, size_t max) {
    struct kw_str words = {0};
    while (log->count >= max) {
        kw_str_deinit(&words);
        words = nth(log, 0)->words;
        log->first = (log->first + 1) & (log->cap - 1);
        log->count--;
    }
    if (log->count == log->cap) grow(log);
    struct kw_slow_entry *entry = nth(log, log->count++);
    kw_str_clear(&words);
    *entry = (struct kw_slow_entry){.words = words};
    return entry;
}

static void keep(struct kw_str *words, const char *bytes, size_t len, size_t max) {
    kw_str_append(words, &len, sizeof(len));
    kw_str_append(words, bytes, len < max ? len : max);
}

/* What keep() left at `*at`, which moves on: `len` is that of the whole. */
static struct kw_arg kept(const char **at, size_t max) {
    struct kw_arg word;
    memcpy(&word.len, *at, sizeof(word.len));
    word.data = *at + sizeof(word.len);
    *at = word.data + (word.len < max ? word.len : max);
    return word;
}

/* "<type><digits>" with its line's end, whose two bytes are any: the parser took them. False when it is not there. */
static bool read_count(const char **at, const char *end, char type, size_t *out) {
    const char *digit = *at;
    size_t count = 0;
    if (digit == end || *digit++ != type) return false;
    for (; digit < end && *digit >= '0' && *digit <= '9'; digit++) count = count * 10 + (size_t)(*digit - '0');
    if (end - digit < 2) return false;
    *at = digit + 2;
    *out = count;
    return true;
}

/* Keeps what is shown of a frame that was accepted once; answers how many arguments it has, 0: it cannot be read. */
static size_t keep_args(struct kw_str *words, const struct kw_frame *frame) {
    const char *at = frame->chunk->data + frame->off, *end = at + frame->len;
    size_t argc, len;
    if (!read_count(&at, end, '*', &argc)) return 0;
    size_t shown = argc > ARGS_MAX ? ARGS_MAX - 1 : argc;
    for (size_t i = 0; i < shown; i++) {
        if (!read_count(&at, end, '$', &len) || end - at < 2 || (size_t)(end - at) - 2 < len) return 0;
        keep(words, at, len, ARG_BYTES_MAX);
        at += len + 2;
    }
    return argc;
}

static void describe_args(struct kw_slow_entry *entry, const struct kw_request *req) {
    size_t before = entry->words.len;
    /* A split command is shown by its first part; a streamed or very large one by its name. */
    if (req->group && req->group->part_count > 0 && req->group->parts[0]) req = req->group->parts[0];
    if (req->frame.chunk && !req->frame.rest.bytes && !(req->flags & KW_REQF_STREAMED)) {
        entry->argc = keep_args(&entry->words, &req->frame);
    }
    if (entry->argc) return;
    entry->words.len = before;
    entry->argc = 1;
    keep(&entry->words, req->cmd->name, req->cmd->name_len, ARG_BYTES_MAX);
}

/* A client's address stays the same, and one that is slow seldom is so once. */
static const union kw_slow_address *address_of(struct kw_slowlog *log, const struct kw_session *session) {
    if (!log->addresses) log->addresses = kw_calloc(ADDRESSES, sizeof(*log->addresses));
    struct known_address *known = &log->addresses[session->id & (ADDRESSES - 1)];
    if (known->client_id != session->id) {
        int size = sizeof(known->address);
        known->client_id = session->id;
        int err = uv_tcp_getpeername(&session->tcp, &known->address.any, &size);
        if (err) known->address.any.sa_family = AF_UNSPEC;
    }
    return &known->address;
}

/* The name goes in front of the arguments: without a client an empty one does. */
static void describe_client(struct kw_slowlog *log, struct kw_slow_entry *entry, const struct kw_session *session) {
    const char *name = session && session->rare && session->rare->name ? session->rare->name : "";
    keep(&entry->words, name, strnlen(name, NAME_BYTES_MAX), NAME_BYTES_MAX);
    if (!session) return;
    entry->client_id = session->id;
    entry->address = *address_of(log, session);
}

static uint64_t node_time(const struct kw_request *req, uint64_t now_us, uint64_t total_us) {
    if (req->group) {
        uint64_t first = UINT64_MAX;
        for (uint32_t i = 0; i < req->group->part_count; i++) {
            const struct kw_request *part = req->group->parts[i];
            if (part && part->sent_us && part->sent_us < first) first = part->sent_us;
        }
        return first == UINT64_MAX ? 0 : now_us - first;
    }
    uint64_t node_us = req->sent_us ? now_us - req->sent_us : 0;
    return node_us < total_us ? node_us : total_us;
}

/* The wall clock, read once a loop turn. */
static uint64_t wall_seconds(struct kw_slowlog *log, uint64_t now_us) {
    if (log->turn_us != now_us) {
        log->turn_us = now_us;
        log->turn_wall_s = kw_clock_wall_us() / 1000000;
    }
    return log->turn_wall_s;
}

void kw_slowlog_consider(struct kw_worker *worker, const struct kw_request *req, uint64_t total_us) {
    const struct kw_limits *limits = kw_server_limits(worker->server);
    if (KW_LIKELY(limits->slowlog_slower_us < 0 || total_us < (uint64_t)limits->slowlog_slower_us)) return;
    if (limits->slowlog_max_len == 0 || (req->flags & KW_REQF_UNBOUNDED)) return;
    struct kw_slowlog *log = worker->slowlog;
    struct kw_slow_entry *entry = claim(log, limits->slowlog_max_len);
    uint64_t now_us = kw_worker_now_us(worker);
    entry->id = atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
    entry->wall_s = wall_seconds(log, now_us);
    entry->total_us = total_us;
    entry->node_us = node_time(req, now_us, total_us);
    describe_client(log, entry, req->session);
    describe_args(entry, req);
}

size_t kw_slowlog_copy(const struct kw_slowlog *log, struct kw_slow_entry *out, size_t max) {
    size_t count = log->count < max ? log->count : max;
    for (size_t i = 0; i < count; i++) {
        const struct kw_slow_entry *entry = nth(log, log->count - 1 - i);
        out[i] = *entry;
        out[i].words = (struct kw_str){0};
        kw_str_append(&out[i].words, entry->words.data, entry->words.len);
    }
    return count;
}

static void print_arg(struct kw_str *out, struct kw_arg arg) {
    if (arg.len <= ARG_BYTES_MAX) {
        kw_str_resp_bulk(out, arg.data, arg.len);
        return;
    }
    char text[ARG_BYTES_MAX + 64];
    memcpy(text, arg.data, ARG_BYTES_MAX);
    int n = snprintf(text + ARG_BYTES_MAX, 64, "... (%zu more bytes)", arg.len - ARG_BYTES_MAX);
    kw_str_resp_bulk(out, text, ARG_BYTES_MAX + (size_t)n);
}

void kw_slow_entry_print_args(struct kw_str *out, const struct kw_slow_entry *entry) {
    const char *at = entry->words.data;
    bool cut = entry->argc > ARGS_MAX;
    size_t whole = cut ? ARGS_MAX - 1 : entry->argc;
    kept(&at, NAME_BYTES_MAX);
    kw_str_resp_array(out, whole + cut);
    for (size_t i = 0; i < whole; i++) print_arg(out, kept(&at, ARG_BYTES_MAX));
    if (!cut) return;
    char text[64];
    int n = snprintf(text, sizeof(text), "... (%zu more arguments)", entry->argc - whole);
    kw_str_resp_bulk(out, text, (size_t)n);
}

void kw_slow_entry_print_client(struct kw_str *out, const struct kw_slow_entry *entry) {
    const char *at = entry->words.data;
    struct kw_arg name = kept(&at, NAME_BYTES_MAX);
    if (entry->client_id) {
        char address[INET6_ADDRSTRLEN + 16];
        kw_session_print_address(&entry->address.any, address, sizeof(address));
        kw_str_resp_text(out, address);
    } else {
        kw_str_resp_text(out, "");
    }
    kw_str_resp_bulk(out, name.data, name.len);
}
