/*
 * Following one node. Happy path:
 *
 *   WAITING --timer--> CONNECTING --open--> GREETING (HELLO 3, WATCH) --both OK--> FOLLOWING
 *
 * and back to WAITING for the next node when anything fails: connection, secret, silence (no push for alive_timeout),
 * bytes that are no map. A round through all nodes takes 50 ms a step at first, later up to 1 s. One timer serves all
 * deadlines. The registration finds the leader: a NOTLEADER moves the link there, as soon as nobody waits for a reply
 * on the old one; moves come at most every second or so, and an address that led nowhere is not taken for a while, so
 * that two nodes that name each other, or an address that cannot be reached from here, do no harm.
 *
 * HELLO 3 makes a push unmistakable (">"); who wants RESP2 gets replies translated.
 */
#include "raft/client/meta_client.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/client/meta_calls.h"
#include "raft/client/meta_frame.h"
#include "raft/client/meta_link.h"
#include "raft/client/meta_nodes.h"

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 1000,
    CONNECT_TIMEOUT_MS = 1000,
    ALIVE_TIMEOUT_MS = 3000,
    REGISTER_MS = 5000,
    ASK_TIMEOUT_MS = 5000,
    RETRY_REGISTER_MS = 1000,  /* after one that did not succeed */
    LEADER_NEWS_MS = 100,      /* how soon all are to tell a new leader of themselves */
    SECOND_LOOK_MS = 10,       /* before silence counts: bytes may lie unread if we were stopped ourselves */
    SETTLED_MS = 1000,         /* a link that ends sooner was none */
    MOVE_PAUSE_MS = 1000,      /* moves follow each other at once only if further apart */
    MOVE_PATIENCE_MS = 1000,   /* for replies that are awaited on the old link */
    LEADERLESS_MIN_MS = 2000,  /* a node that knows no leader is left after so long, if there are others ... */
    LEADERLESS_MAX_MS = 16000, /* ... and after twice as long the next time */
    UNANSWERED_MS = 10 * 1000, /* beyond its time a command may stay unanswered before the link is given up */
    LEAVE_MS = 300,
    MOVES_MAX = 3, /* of one command */
    VERSION_SIZE = 24,
};

enum state { WAITING, CONNECTING, GREETING, FOLLOWING, LEAVING, CLOSED };

struct kw_meta_client {
    uv_loop_t *loop;
    struct kw_meta_client_options opts; /* its texts are not used */
    char *secret;                       /* own; NULL: none */
    char *id, *address, *proxy_version; /* own; id NULL: does not register */
    struct kw_meta_nodes nodes;
    struct kw_meta_calls calls;
    uv_timer_t timer;
    struct kw_meta_link *link; /* own; NULL: none */
    enum state state;
    uint64_t due_ms;        /* WAITING: next attempt; CONNECTING, GREETING, LEAVING: deadline */
    uint64_t up_since_ms;   /* FOLLOWING */
    uint64_t silent_due_ms; /* FOLLOWING: when it counts as dead */
    bool silent;            /* that time has passed once; the next look is final */
    uint64_t register_due_ms;
    bool register_sent, status_sent, registered;
    uint64_t leaderless_due_ms; /* 0: it knows a leader */
    unsigned leaderless_ms;
    int move_to; /* index of a node; -1: no move is planned */
    uint64_t move_due_ms, moved_ms;
    unsigned move_backoff_ms;
    bool move_hinted, hinted; /* the move, the attempt: to where a node said that the leader is */
    unsigned attempts, failures;
    unsigned backoff_ms;
    bool told_down, was_followed;
    uint64_t rewatched_ms;
    struct kw_map *map; /* reference; NULL: none yet */
    struct kw_meta_client_facts facts;
    unsigned open_handles;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void lose(struct kw_meta_client *c, int err, const char *why);
static void begin_attempt(struct kw_meta_client *c);
static void on_timer(uv_timer_t *timer);

/* Half of it to all of it, so that many clients do not knock in step. */
static uint64_t jittered(unsigned ms) {
    return ms - kw_clock_us() % (ms / 2 + 1);
}

static void tell_facts(struct kw_meta_client *c) {
    if (c->opts.on_facts && c->state != LEAVING) c->opts.on_facts(c->opts.ctx, &c->facts);
}

/* ---- the timer ---- */

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t next_due(const struct kw_meta_client *c) {
    uint64_t due = kw_meta_calls_due_ms(&c->calls);
    if (c->state != FOLLOWING) return earlier(due, c->due_ms);
    due = earlier(due, c->silent ? c->silent_due_ms + SECOND_LOOK_MS : c->silent_due_ms);
    due = earlier(due, c->register_due_ms);
    if (c->calls.sent.head) due = earlier(due, c->calls.sent.head->deadline_ms + UNANSWERED_MS);
    if (c->leaderless_due_ms) due = earlier(due, c->leaderless_due_ms);
    if (c->move_to >= 0) {
        uint64_t now = kw_clock_ms();
        due = earlier(due, now < c->move_due_ms ? c->move_due_ms : c->move_due_ms + MOVE_PATIENCE_MS);
    }
    return due;
}

static void arm(struct kw_meta_client *c) {
    if (c->state == CLOSED) return;
    uint64_t now = kw_clock_ms(), due = next_due(c);
    uv_update_time(c->loop);
    uv_timer_start(&c->timer, on_timer, due > now ? due - now : 0, 0);
}

/* ---- sending ---- */

static uint64_t ask_timeout(const struct kw_meta_client *c) {
    return c->opts.ask_timeout_ms;
}

static int send_call(struct kw_meta_client *c, struct kw_meta_call *call) {
    int err = kw_meta_link_send(c->link, call->frame, call->len);
    if (err == 0) kw_meta_calls_append(&c->calls.sent, call);
    return err;
}

/* One of our own; that the node does not read shows in its silence. */
static void say(struct kw_meta_client *c, enum kw_meta_call_kind kind, size_t argc, const char *const *argv) {
    struct kw_meta_call *call = kw_meta_call_new(kind, argc, argv, NULL);
    call->deadline_ms = kw_clock_ms() + ask_timeout(c);
    if (send_call(c, call) != 0) kw_meta_call_finish(&c->calls, call, KW_ELIMIT, NULL, 0);
}

static void say_watch(struct kw_meta_client *c, bool anew) {
    char version[VERSION_SIZE];
    const char *argv[] = {"KEYWAY", "WATCH", "VERSION", version};
    /* Who was gone for long may have come back as another, from a backup: its versions are not those of before. */
    bool held = !anew && !c->told_down && c->map && c->map->version > 0;
    snprintf(version, sizeof(version), "%llu", held ? (unsigned long long)c->map->version : 0ULL);
    say(c, KW_META_CALL_WATCH, held ? 4 : 2, argv);
}

static void say_status(struct kw_meta_client *c) {
    static const char *const argv[] = {"KEYWAY", "STATUS"};
    if (c->status_sent) return;
    c->status_sent = true;
    say(c, KW_META_CALL_STATUS, KW_ARRAY_LEN(argv), argv);
}

static void say_register(struct kw_meta_client *c) {
    char address[KW_META_CLIENT_ADDRESS_SIZE + 16], host[64], workers[16], version[VERSION_SIZE];
    if (!c->id || c->register_sent) return;
    host[0] = '\0';
    if (c->address[0] == ':') kw_meta_link_local_host(c->link, host, sizeof(host));
    snprintf(address, sizeof(address), strchr(host, ':') ? "[%s]%s" : "%s%s", host, c->address);
    snprintf(workers, sizeof(workers), "%u", c->opts.identity->workers);
    snprintf(version, sizeof(version), "%llu", (unsigned long long)c->facts.map_version);
    const char *argv[] = {"KEYWAY", "PROXY", "REGISTER", c->id, address, c->proxy_version, workers, version};
    c->register_sent = true;
    say(c, KW_META_CALL_REGISTER, KW_ARRAY_LEN(argv), argv);
}

static void sign_of_life(struct kw_meta_client *c) {
    c->register_due_ms = kw_clock_ms() + c->opts.register_ms;
    say_register(c);
    say_status(c);
}

/* What waits goes out, unless the link is about to move. */
static void flush(struct kw_meta_client *c) {
    struct kw_meta_call *call;
    while (c->state == FOLLOWING && c->move_to < 0 && (call = kw_meta_calls_take(&c->calls.waiting))) {
        int err = send_call(c, call);
        if (err != 0) kw_meta_call_finish(&c->calls, call, err, NULL, 0);
    }
}

/* ---- moving to the leader ---- */

/* Whether the link will move to that node. */
static bool plan_move(struct kw_meta_client *c, int index, bool hinted) {
    uint64_t now = kw_clock_ms();
    if (index < 0 || (unsigned)index == c->nodes.at || kw_meta_nodes_avoided(&c->nodes, (unsigned)index, now)) {
        return false;
    }
    if (c->move_to >= 0) return true; /* elsewhere, perhaps: the node there will say */
    c->move_to = index;
    c->move_hinted = hinted;
    c->move_due_ms = now;
    if (now - c->moved_ms < MOVE_PAUSE_MS) {
        c->move_due_ms = now + jittered(c->move_backoff_ms);
        c->move_backoff_ms = c->move_backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : c->move_backoff_ms * 2;
    } else {
        c->move_backoff_ms = BACKOFF_MIN_MS;
    }
    return true;
}

static bool plan_move_to(struct kw_meta_client *c, const struct kw_arg *address) {
    return plan_move(c, kw_meta_nodes_learn(&c->nodes, address->data, address->len), true);
}

static void drop_link(struct kw_meta_client *c) {
    if (c->link) kw_meta_link_close(c->link);
    c->link = NULL;
    c->facts.up = false;
    c->register_sent = c->status_sent = c->registered = false;
    c->move_to = -1;
    kw_meta_calls_lost(&c->calls);
}

static void move_now(struct kw_meta_client *c) {
    int to = c->move_to;
    c->moved_ms = kw_clock_ms();
    c->state = WAITING;
    drop_link(c);
    c->nodes.at = (unsigned)to;
    c->hinted = c->move_hinted;
    c->failures = 0;
    begin_attempt(c);
}

static void move_if_due(struct kw_meta_client *c) {
    if (c->state != FOLLOWING || c->move_to < 0) return;
    uint64_t now = kw_clock_ms();
    if (now < c->move_due_ms) return;
    if (kw_meta_calls_awaited(&c->calls) && now < c->move_due_ms + MOVE_PATIENCE_MS) return;
    move_now(c);
}

/* ---- what the node says ---- */

static void take_map(struct kw_meta_client *c, struct kw_map *map) {
    kw_map_unref(c->map);
    c->map = map;
    c->facts.map_version = map->version;
    tell_facts(c);
    c->opts.on_map(c->opts.ctx, map);
}

/* A difference to another map than ours: the whole is asked for, but not again and again. */
static void watch_anew(struct kw_meta_client *c) {
    uint64_t now = kw_clock_ms();
    if (c->rewatched_ms != 0 && now - c->rewatched_ms < SETTLED_MS) {
        lose(c, KW_EPROTOCOL, "its map differences do not fit");
        return;
    }
    c->rewatched_ms = now;
    say_watch(c, true);
}

static void on_map_push(struct kw_meta_client *c, const struct kw_meta_push *push) {
    struct kw_map *map = NULL;
    int err;
    if (push->kind == KW_META_PUSH_MAP) {
        err = kw_map_decode(&map, push->bytes.data, push->bytes.len);
    } else {
        err = c->map ? kw_map_patch(&map, c->map, push->bytes.data, push->bytes.len) : KW_EINVALID;
        if (err != 0) {
            kw_log(KW_LOG_VERBOSE, "metadata node %s: map difference to version %llu not taken: %s", c->facts.node,
                   (unsigned long long)push->number, kw_error_text(err));
            watch_anew(c);
            return;
        }
    }
    if (err != 0) {
        lose(c, err, "it sent bytes that are no map");
        return;
    }
    take_map(c, map);
}

static void note_leader(struct kw_meta_client *c, const struct kw_meta_push *push) {
    uint64_t now = kw_clock_ms();
    struct kw_meta_client_facts *facts = &c->facts;
    facts->applied_index = push->number;
    if (push->leader_id != facts->leader_id && push->leader_id != 0) {
        /* Who leads now has not heard of us; told within a moment, not by all at once. */
        c->register_due_ms = earlier(c->register_due_ms, now + jittered(LEADER_NEWS_MS));
    }
    facts->leader_id = push->leader_id;
    size_t len = push->leader.len < sizeof(facts->leader) ? push->leader.len : 0;
    memcpy(facts->leader, push->leader.data, len);
    facts->leader[len] = '\0';
    if (push->leader_id != 0) {
        if (len > 0) kw_meta_nodes_learn(&c->nodes, facts->leader, len);
        c->leaderless_due_ms = 0;
        c->leaderless_ms = LEADERLESS_MIN_MS;
    } else if (c->leaderless_due_ms == 0) {
        c->leaderless_due_ms = now + jittered(c->leaderless_ms);
    }
}

static void on_push(struct kw_meta_client *c, const char *bytes, size_t len) {
    struct kw_meta_push push;
    if (kw_meta_push_parse(&push, bytes, len) != 0) {
        lose(c, KW_EPROTOCOL, "it sent a push of an unknown shape");
        return;
    }
    switch (push.kind) {
    case KW_META_PUSH_MAP:
    case KW_META_PUSH_DIFF: on_map_push(c, &push); break;
    case KW_META_PUSH_ALIVE:
        note_leader(c, &push);
        tell_facts(c);
        break;
    case KW_META_PUSH_OTHER: break;
    }
}

static void on_member(void *ctx, const char *address, size_t len) {
    kw_meta_nodes_member(ctx, address, len);
}

static void on_status(struct kw_meta_client *c, const char *bytes, size_t len) {
    c->status_sent = false;
    /* The list may become shorter, and places in it others. */
    if (c->move_to >= 0 || bytes[0] != '%') return;
    kw_meta_nodes_members_begin(&c->nodes);
    kw_meta_members_each(bytes, len, on_member, &c->nodes);
    kw_meta_nodes_members_end(&c->nodes);
}

/* What an error reply says, up to a length that people read. */
static struct kw_arg error_text(const char *bytes, size_t len) {
    struct kw_arg text = {bytes + 1, 0};
    while (text.len < 150 && text.len + 1 < len && text.data[text.len] >= ' ') text.len++;
    return text;
}

static void on_registered(struct kw_meta_client *c, const char *bytes, size_t len) {
    struct kw_arg leader;
    c->register_sent = false;
    c->registered = bytes[0] != '-';
    if (c->registered) return;
    c->register_due_ms = earlier(c->register_due_ms, kw_clock_ms() + jittered(RETRY_REGISTER_MS));
    if (kw_meta_is_notleader(bytes, len, &leader)) {
        plan_move_to(c, &leader);
    } else {
        struct kw_arg text = error_text(bytes, len);
        kw_log(KW_LOG_VERBOSE, "metadata node %s: not registered: %.*s", c->facts.node, (int)text.len, text.data);
    }
}

/* The error that a node gave in its greeting, for people. */
static void refused(struct kw_meta_client *c, const char *bytes, size_t len) {
    char why[KW_META_CLIENT_WHY_SIZE];
    struct kw_arg text = error_text(bytes, len);
    bool wrong = kw_meta_is_error(bytes, len, "WRONGPASS"), none = kw_meta_is_error(bytes, len, "NOAUTH");
    snprintf(why, sizeof(why), "%s%.*s",
             wrong  ? "it refuses the secret: "
             : none ? "it wants a secret: "
                    : "",
             (int)text.len, text.data);
    c->facts.refused = wrong || none;
    lose(c, KW_EUNREACHABLE, why);
}

static void on_following(struct kw_meta_client *c) {
    uint64_t now = kw_clock_ms();
    c->state = FOLLOWING;
    c->up_since_ms = now;
    c->silent = false;
    c->silent_due_ms = now + c->opts.alive_timeout_ms;
    c->leaderless_due_ms = 0;
    c->hinted = false;
    kw_meta_nodes_trust(&c->nodes, c->nodes.at);
    c->facts.up = true;
    c->facts.refused = false;
    c->facts.why[0] = '\0';
    c->facts.reconnects += c->was_followed;
    c->was_followed = true;
    c->told_down = false;
    sign_of_life(c);
    flush(c);
    tell_facts(c);
    c->opts.on_link(c->opts.ctx, true, &c->facts);
}

/* ---- replies ---- */

/* The node did nothing of what it was asked. */
static bool is_refusal(const char *bytes, size_t len) {
    static const char *const words[] = {"NOTLEADER", "NOLEADER", "BUSY", "LOADING"};
    for (size_t i = 0; i < KW_ARRAY_LEN(words); i++) {
        if (kw_meta_is_error(bytes, len, words[i])) return true;
    }
    return false;
}

static void deliver(struct kw_meta_client *c, struct kw_meta_call *call, const char *bytes, size_t len) {
    struct kw_str text = {0};
    struct kw_arg leader;
    if (call->fn && call->moves < MOVES_MAX && kw_meta_is_notleader(bytes, len, &leader) && plan_move_to(c, &leader)) {
        call->moves++;
        kw_meta_calls_append(&c->calls.waiting, call);
        return;
    }
    if (call->may_have_run && is_refusal(bytes, len)) {
        /* Of this try: it says nothing of the one whose answer was lost. */
        kw_meta_call_finish(&c->calls, call, KW_ELINKLOST, NULL, 0);
        return;
    }
    int err = 0;
    if (call->resp == 2 && call->fn) {
        err = kw_meta_to_resp2(&text, bytes, len);
        bytes = text.data;
        len = text.len;
    }
    kw_meta_call_finish(&c->calls, call, err, bytes, len);
    kw_str_deinit(&text);
}

static void close_now(struct kw_meta_client *c);

static void on_reply(struct kw_meta_client *c, const char *bytes, size_t len) {
    struct kw_meta_call *call = kw_meta_calls_take(&c->calls.sent);
    if (!call) {
        lose(c, KW_EPROTOCOL, "it sent a reply that was not asked for");
        return;
    }
    if (call->kind == KW_META_CALL_ASK) {
        if (bytes) {
            deliver(c, call, bytes, len);
        } else {
            kw_meta_call_finish(&c->calls, call, KW_ELIMIT, NULL, 0);
        }
        return;
    }
    enum kw_meta_call_kind kind = call->kind;
    kw_meta_call_finish(&c->calls, call, 0, NULL, 0);
    if (kind == KW_META_CALL_LEAVE) {
        close_now(c);
    } else if (c->state == LEAVING) {
        return;
    } else if (!bytes) {
        lose(c, KW_ELIMIT, "its reply is too large");
    } else if ((kind == KW_META_CALL_HELLO || kind == KW_META_CALL_WATCH) && bytes[0] == '-') {
        refused(c, bytes, len);
    } else if (kind == KW_META_CALL_WATCH && c->state == GREETING) {
        on_following(c);
    } else if (kind == KW_META_CALL_STATUS) {
        on_status(c, bytes, len);
    } else if (kind == KW_META_CALL_REGISTER) {
        on_registered(c, bytes, len);
    }
}

static void on_value(void *ctx, char type, const char *bytes, size_t len) {
    struct kw_meta_client *c = ctx;
    c->facts.last_seen_ms = kw_clock_ms();
    if (type != '>') {
        on_reply(c, bytes, len);
    } else if (c->state == LEAVING) {
        return;
    } else if (!bytes) {
        lose(c, KW_ELIMIT, "its push is too large");
    } else {
        c->silent = false;
        c->silent_due_ms = c->facts.last_seen_ms + c->opts.alive_timeout_ms;
        on_push(c, bytes, len);
    }
    move_if_due(c);
    flush(c);
    arm(c);
}

/* ---- the link ---- */

static void on_open(void *ctx) {
    struct kw_meta_client *c = ctx;
    const char *argv[] = {"HELLO", "3", "AUTH", "default", c->secret};
    c->state = GREETING;
    say(c, KW_META_CALL_HELLO, c->secret ? 5 : 2, argv);
    say_watch(c, false);
}

static void on_end(void *ctx, int err, const char *why) {
    struct kw_meta_client *c = ctx;
    if (c->state == LEAVING) {
        close_now(c);
        return;
    }
    lose(c, err, why);
    arm(c);
}

static void release(struct kw_meta_client *c) {
    if (--c->open_handles > 0) return;
    void (*closed)(void *ctx) = c->closed;
    void *ctx = c->closed_ctx;
    kw_map_unref(c->map);
    kw_free(c->secret);
    kw_free(c->id);
    kw_free(c->address);
    kw_free(c->proxy_version);
    kw_free((void *)c->opts.identity);
    kw_free(c);
    if (closed) closed(ctx);
}

static void on_link_closed(void *ctx) {
    release(ctx);
}

static void begin_attempt(struct kw_meta_client *c) {
    const struct kw_meta_node *node = kw_meta_nodes_current(&c->nodes);
    struct kw_meta_link_hooks hooks = {on_open, on_value, on_end, on_link_closed, c};
    kw_meta_node_print(node, c->facts.node);
    c->state = CONNECTING;
    c->due_ms = kw_clock_ms() + c->opts.connect_timeout_ms;
    c->open_handles++;
    c->link = kw_meta_link_open(c->loop, node->host, node->port, c->attempts++, &hooks);
    if (!c->link) lose(c, KW_EUNREACHABLE, "no connection can be made");
}

/* Until the first round is through, the next node follows quickly; then ever more slowly. */
static uint64_t pause_before_next(struct kw_meta_client *c) {
    if (c->failures <= 1) return jittered(BACKOFF_MIN_MS / 2);
    if (c->failures % c->nodes.count != 0) return jittered(c->backoff_ms);
    uint64_t pause = jittered(c->backoff_ms);
    c->backoff_ms = c->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : c->backoff_ms * 2;
    return pause;
}

static void lose(struct kw_meta_client *c, int err, const char *why) {
    uint64_t now = kw_clock_ms();
    if (c->state == FOLLOWING && now - c->up_since_ms >= SETTLED_MS) {
        c->failures = 0;
        c->backoff_ms = BACKOFF_MIN_MS;
    }
    if (c->hinted) kw_meta_nodes_avoid(&c->nodes, c->nodes.at, now);
    c->hinted = false;
    c->state = WAITING;
    c->failures++;
    c->due_ms = now + pause_before_next(c);
    snprintf(c->facts.why, sizeof(c->facts.why), "%s", why);
    kw_log(KW_LOG_VERBOSE, "metadata node %s: %s (%s)", c->facts.node, why, kw_error_text(err));
    drop_link(c);
    kw_meta_nodes_advance(&c->nodes);
    tell_facts(c);
    if (c->failures < c->nodes.count) return;
    kw_meta_calls_give_up(&c->calls);
    if (c->told_down) return;
    c->told_down = true;
    c->opts.on_link(c->opts.ctx, false, &c->facts);
}

/* ---- deadlines ---- */

static void check_following(struct kw_meta_client *c, uint64_t now) {
    const struct kw_meta_call *oldest = c->calls.sent.head;
    if (now >= c->silent_due_ms) {
        if (c->silent && now >= c->silent_due_ms + SECOND_LOOK_MS) {
            lose(c, KW_ETIMEOUT, "it has gone silent");
            return;
        }
        c->silent = true;
    }
    if (oldest && now >= oldest->deadline_ms + UNANSWERED_MS) {
        lose(c, KW_ETIMEOUT, "it does not answer commands");
        return;
    }
    if (now >= c->register_due_ms) sign_of_life(c);
    if (c->leaderless_due_ms && now >= c->leaderless_due_ms) {
        c->leaderless_due_ms = now + jittered(c->leaderless_ms);
        c->leaderless_ms = c->leaderless_ms * 2 > LEADERLESS_MAX_MS ? LEADERLESS_MAX_MS : c->leaderless_ms * 2;
        plan_move(c, (int)((c->nodes.at + 1) % c->nodes.count), false);
    }
    move_if_due(c);
}

static void on_timer(uv_timer_t *timer) {
    struct kw_meta_client *c = timer->data;
    uint64_t now = kw_clock_ms();
    kw_meta_calls_expire(&c->calls, now);
    switch (c->state) {
    case WAITING:
        if (now >= c->due_ms) begin_attempt(c);
        break;
    case CONNECTING:
    case GREETING:
        if (now >= c->due_ms) lose(c, KW_ETIMEOUT, "it does not answer");
        break;
    case FOLLOWING: check_following(c, now); break;
    case LEAVING:
        if (now >= c->due_ms) close_now(c);
        break;
    case CLOSED: return;
    }
    arm(c);
}

/* ---- public ---- */

static void copy_identity(struct kw_meta_client *c, const struct kw_meta_client_identity *identity) {
    if (!identity) return;
    struct kw_meta_client_identity *own = kw_malloc(sizeof(*own));
    c->id = kw_strdup(identity->id);
    c->address = kw_strdup(identity->address);
    c->proxy_version = kw_strdup(identity->version);
    *own = (struct kw_meta_client_identity){c->id, c->address, c->proxy_version, identity->workers};
    c->opts.identity = own;
}

static void or_default(unsigned *value, unsigned standard) {
    if (*value == 0) *value = standard;
}

int kw_meta_client_new(struct kw_meta_client **out, uv_loop_t *loop, const struct kw_meta_client_options *opts) {
    KW_ASSERT(opts->on_map && opts->on_link);
    struct kw_meta_client *c = kw_calloc(1, sizeof(*c));
    int err = kw_meta_nodes_init(&c->nodes, opts->nodes);
    if (err != 0) {
        kw_free(c);
        return err;
    }
    c->loop = loop;
    c->opts = *opts;
    c->opts.nodes = c->opts.secret = NULL;
    c->opts.identity = NULL;
    copy_identity(c, opts->identity);
    if (opts->secret && opts->secret[0]) c->secret = kw_strdup(opts->secret);
    or_default(&c->opts.connect_timeout_ms, CONNECT_TIMEOUT_MS);
    or_default(&c->opts.alive_timeout_ms, ALIVE_TIMEOUT_MS);
    or_default(&c->opts.register_ms, REGISTER_MS);
    or_default(&c->opts.ask_timeout_ms, ASK_TIMEOUT_MS);
    kw_meta_calls_init(&c->calls);
    c->nodes.at = (unsigned)(kw_clock_us() % c->nodes.count); /* not all clients at the first node */
    c->backoff_ms = c->move_backoff_ms = BACKOFF_MIN_MS;
    c->leaderless_ms = LEADERLESS_MIN_MS;
    c->move_to = -1;
    int rc = uv_timer_init(loop, &c->timer);
    KW_ASSERT(rc == 0);
    c->timer.data = c;
    c->open_handles = 1;
    c->state = WAITING;
    c->due_ms = kw_clock_ms();
    arm(c);
    *out = c;
    return 0;
}

int kw_meta_client_ask(struct kw_meta_client *c, const struct kw_meta_client_ask *ask) {
    KW_ASSERT(ask->fn && ask->argc > 0 && (ask->resp == 2 || ask->resp == 3));
    if (c->state == LEAVING || c->state == CLOSED || c->told_down) return KW_EUNREACHABLE;
    if (c->calls.asks >= KW_META_CLIENT_ASKS_MAX) return KW_ELIMIT;
    size_t bytes = 0;
    for (size_t i = 0; i < ask->argc; i++) bytes += 16 + (ask->argv_len ? ask->argv_len[i] : strlen(ask->argv[i]));
    if (bytes > KW_META_CLIENT_ASK_BYTES_MAX) return KW_ELIMIT;
    struct kw_meta_call *call = kw_meta_call_new(KW_META_CALL_ASK, ask->argc, ask->argv, ask->argv_len);
    call->fn = ask->fn;
    call->ctx = ask->ctx;
    call->resp = ask->resp;
    call->repeatable = ask->repeatable;
    call->deadline_ms = kw_clock_ms() + ask_timeout(c);
    bool now = c->state == FOLLOWING && c->move_to < 0 && !c->calls.waiting.head;
    int err = 0;
    if (now) err = send_call(c, call);
    if (err != 0) {
        kw_free(call->frame);
        kw_free(call);
        return err;
    }
    if (!now) kw_meta_calls_append(&c->calls.waiting, call);
    c->calls.asks++;
    arm(c);
    return 0;
}

void kw_meta_client_facts(const struct kw_meta_client *c, struct kw_meta_client_facts *facts) {
    *facts = c->facts;
}

static void on_timer_closed(uv_handle_t *handle) {
    release(handle->data);
}

static void close_now(struct kw_meta_client *c) {
    c->state = CLOSED;
    drop_link(c);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

void kw_meta_client_close(struct kw_meta_client *c, void (*closed)(void *ctx), void *ctx) {
    KW_ASSERT(c->state != LEAVING && c->state != CLOSED);
    bool leave = c->state == FOLLOWING && c->registered;
    c->closed = closed;
    c->closed_ctx = ctx;
    c->state = LEAVING;
    kw_meta_calls_abandon(&c->calls);
    if (!leave) {
        close_now(c);
        return;
    }
    const char *argv[] = {"KEYWAY", "PROXY", "REMOVE", c->id};
    c->due_ms = kw_clock_ms() + LEAVE_MS;
    say(c, KW_META_CALL_LEAVE, KW_ARRAY_LEN(argv), argv);
    arm(c);
}
