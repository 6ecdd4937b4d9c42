/*
 * The trackers of a worker: links, pushes, flushes. A tracker belongs to its
 * session; its links are private ones that nobody else uses, closed with it.
 */
#include "proxy/tracking/tracking.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/tour.h"
#include "proxy/tracking/redirected.h"
#include "proxy/upstream/link.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

/* The connections to one node. */
struct leg {
    struct leg *next;
    struct kw_tracker *tracker;
    struct kw_node *node;      /* borrowed: lives as long as a link */
    struct kw_link *data;      /* borrowed; NULL until the companion is ready */
    struct kw_link *companion; /* borrowed; where pushes come, unless that is with the replies: RESP3, no REDIRECT */
    bool on;                   /* the node has confirmed */
    bool news;                 /* the client may have something from here since it was told to forget all */
};

struct kw_tracker {
    struct kw_tracker *prev, *next; /* of the worker */
    struct kw_session *session;     /* borrowed */
    struct kw_tracking_options options;
    struct leg *legs; /* own */
    enum kw_caching caching_next, caching_now;
    struct kw_request *confirm; /* borrowed; to be answered when all legs are on */
    uint64_t confirm_due_us;
    bool told; /* the client knows that it tracks */
    bool broken;
    bool forgotten; /* the client was told to forget all, and has read nothing since */
    bool reopened;  /* pushes may have been missed until all legs are on again (BCAST) */
};

static struct kw_tracker *tracker_of(const struct kw_session *session) {
    return session->rare ? session->rare->tracker : NULL;
}

void kw_tracking_options_deinit(struct kw_tracking_options *options) {
    for (size_t i = 0; i < options->prefix_count; i++) kw_free((void *)options->prefixes[i].data);
    kw_free(options->prefixes);
    *options = (struct kw_tracking_options){0};
}

const struct kw_tracking_options *kw_tracking_options(const struct kw_session *session) {
    const struct kw_tracker *tracker = tracker_of(session);
    return tracker ? &tracker->options : NULL;
}

bool kw_tracking_is_broken(const struct kw_session *session) {
    const struct kw_tracker *tracker = tracker_of(session);
    return tracker && tracker->broken;
}

/* ---- what the client is told */

static void push_text(struct kw_session *session, const char *text, size_t len) {
    struct kw_outq *to = kw_session_push_queue(session);
    if (!kw_outq_copy_try(to, session->worker->pool, text, len, 4096) || kw_session_over_limit(session)) {
        kw_session_close(session);
    }
}

static void on_target_gone(void *ref) {
    struct kw_session *session = ref;
    struct kw_tracker *tracker = tracker_of(session);
    if (!tracker || tracker->broken) return;
    tracker->broken = true;
    if (!session->resp3) return;
    struct kw_str text = {0};
    kw_str_resp_push(&text, 3, 2);
    kw_str_resp_text(&text, "tracking-redir-broken");
    kw_str_resp_int(&text, (long long)tracker->options.redirect);
    push_text(session, text.data, text.len);
    kw_str_deinit(&text);
}

static const char forget_all[] = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

/* What was read and is still on its way may be in the client's cache by and by. */
static bool has_reads_in_flight(const struct kw_session *session) {
    for (const struct kw_request *req = session->active_head; req; req = req->active_next) {
        if (req->flags & KW_REQF_READONLY) return true;
    }
    return false;
}

/* The client forgets all: whatever the legs say of that is old, but for reads that are on their way. */
static void note_forgotten(struct kw_tracker *tracker) {
    bool reads = has_reads_in_flight(tracker->session);
    tracker->forgotten = !reads;
    for (struct leg *leg = tracker->legs; leg; leg = leg->next) leg->news = reads;
}

/*
 * An invalidation as a node sends it in RESP3; to the client, or to whom it named. `leg`: where it came from; NULL: it
 * is ours. After FLUSHALL every shard says that all is to be forgotten; once is enough while nothing new was read
 * there. Before the client is told that tracking is on it has nothing to forget, and no push may come before that
 * reply.
 */
static void invalidate(struct kw_tracker *tracker, struct leg *leg, const char *frame, size_t len) {
    struct kw_session *session = tracker->session;
    bool all = len == sizeof(forget_all) - 1 && memcmp(frame, forget_all, len) == 0;
    if (!tracker->told) return;
    if (all && (leg ? !leg->news : tracker->forgotten)) return;
    if (all) {
        note_forgotten(tracker);
    } else {
        tracker->forgotten = false;
        leg->news = true;
    }
    if (tracker->options.redirect) {
        kw_redirected_send(session, tracker->options.redirect_worker, tracker->options.redirect, frame, len,
                           on_target_gone);
    } else if (session->resp3) {
        push_text(session, frame, len);
    }
}

static void flush(struct kw_tracker *tracker) {
    invalidate(tracker, NULL, forget_all, sizeof(forget_all) - 1);
}

/* ---- legs */

static struct leg *leg_find(const struct kw_tracker *tracker, const struct kw_node *node) {
    struct leg *leg = tracker->legs;
    while (leg && leg->node != node) leg = leg->next;
    return leg;
}

static void leg_unlink(struct leg *leg) {
    for (struct leg **at = &leg->tracker->legs; *at; at = &(*at)->next) {
        if (*at != leg) continue;
        *at = leg->next;
        return;
    }
}

static void disown(struct kw_link *link) {
    if (!link) return;
    link->owner = NULL;
    link->owner_ref = NULL;
}

/* Closes both links: it is our own will. What the client has sent is still run. */
static void leg_close(struct leg *leg, const char *why) {
    leg_unlink(leg);
    disown(leg->data);
    disown(leg->companion);
    if (leg->data) kw_link_retire(leg->data);
    if (leg->companion) kw_link_close(leg->companion, why);
    kw_free(leg);
}

static void on_lost(struct kw_link *link) {
    struct leg *leg = link->owner_ref;
    struct kw_tracker *tracker = leg->tracker;
    if (leg->data == link) leg->data = NULL;
    if (leg->companion == link) leg->companion = NULL;
    disown(link);
    leg_close(leg, "its other half was lost");
    tracker->reopened = tracker->options.bcast;
    if (!tracker->session->closing) flush(tracker);
}

static void on_pushed(struct kw_link *link, struct kw_outq *frame) {
    struct leg *leg = link->owner_ref;
    char small[512];
    char *text = frame->bytes <= sizeof(small) ? small : kw_malloc(frame->bytes);
    size_t len = kw_outq_peek(frame, text, frame->bytes);
    static const char begins[] = ">2\r\n$10\r\ninvalidate\r\n";
    bool known = len >= sizeof(begins) && memcmp(text, begins, sizeof(begins) - 1) == 0;
    if (known) invalidate(leg->tracker, leg, text, len);
    if (text != small) kw_free(text);
}

static bool all_on(const struct kw_tracker *tracker) {
    const struct kw_worker *worker = tracker->session->worker;
    for (const struct kw_node *node = worker->nodes; node; node = node->next) {
        const struct leg *leg = node->serves_slots ? leg_find(tracker, node) : NULL;
        if (node->serves_slots && (!leg || !leg->on)) return false;
    }
    return true;
}

static void finish_confirm(struct kw_tracker *tracker, const char *reply) {
    struct kw_request *req = tracker->confirm;
    if (!req) return;
    struct kw_str text = {0};
    kw_str_append_text(&text, reply);
    tracker->confirm = NULL;
    tracker->told = true;
    kw_request_finish_async(tracker->session->worker, req, &text);
    kw_str_deinit(&text);
}

static void on_ready(struct kw_link *link);
static const struct kw_link_owner tracking_owner = {.pushed = on_pushed, .lost = on_lost, .ready = on_ready};

static bool has_all_keys(const struct kw_tracking_options *options) {
    for (size_t i = 0; i < options->prefix_count; i++) {
        if (options->prefixes[i].len == 0) return true;
    }
    return false;
}

/* CLIENT TRACKING ON with the options, as the node is to have them; of the prefixes the first `prefix_count`. */
static int send_on(struct kw_link *link, const struct leg *leg, size_t prefix_count) {
    const struct kw_tracking_options *options = &leg->tracker->options;
    struct kw_str text = {0};
    /* To the node, no prefix is the one of all keys, and it may come on top of others only when it is not named. */
    if (has_all_keys(options)) prefix_count = 0;
    size_t words = 3 + (leg->companion ? 2U : 0) + (options->bcast ? 1U : 0) + prefix_count * 2 +
                   (options->optin ? 1U : 0) + (options->optout ? 1U : 0) + (options->noloop ? 1U : 0);
    kw_str_resp_array(&text, words);
    kw_str_resp_text(&text, "CLIENT");
    kw_str_resp_text(&text, "TRACKING");
    kw_str_resp_text(&text, "ON");
    if (leg->companion) {
        char id[24];
        snprintf(id, sizeof(id), "%llu", (unsigned long long)leg->companion->node_client_id);
        kw_str_resp_text(&text, "REDIRECT");
        kw_str_resp_text(&text, id);
    }
    if (options->bcast) kw_str_resp_text(&text, "BCAST");
    for (size_t i = 0; i < prefix_count; i++) {
        kw_str_resp_text(&text, "PREFIX");
        kw_str_resp_bulk(&text, options->prefixes[i].data, options->prefixes[i].len);
    }
    if (options->optin) kw_str_resp_text(&text, "OPTIN");
    if (options->optout) kw_str_resp_text(&text, "OPTOUT");
    if (options->noloop) kw_str_resp_text(&text, "NOLOOP");
    int err = kw_link_send_internal(link, text.data, text.len, KW_REQF_READY, NULL);
    kw_str_deinit(&text);
    return err;
}

/* The link for replies; a failure takes the leg with it. */
static void open_data(struct leg *leg) {
    struct kw_link *link = kw_link_get_private(leg->node, kw_session_resp(leg->tracker->session));
    if (!link) return;
    link->owner = &tracking_owner;
    link->owner_ref = leg;
    leg->data = link;
    if (send_on(link, leg, leg->tracker->options.prefix_count)) kw_link_close(link, "out of memory");
}

static struct leg *leg_open(struct kw_tracker *tracker, struct kw_node *node) {
    struct leg *leg = kw_calloc(1, sizeof(*leg));
    leg->tracker = tracker;
    leg->node = node;
    leg->news = true;
    leg->next = tracker->legs;
    tracker->legs = leg;
    if (tracker->session->resp3 && !tracker->options.redirect) {
        open_data(leg);
    } else {
        leg->companion = kw_link_new_push(node, &tracking_owner, leg);
    }
    if (leg->data || leg->companion) return leg;
    leg_unlink(leg);
    kw_free(leg);
    return NULL;
}

/* The companion knows its number, or the node has confirmed that it tracks. */
static void on_ready(struct kw_link *link) {
    struct leg *leg = link->owner_ref;
    struct kw_tracker *tracker = leg->tracker;
    if (link == leg->companion) {
        if (!leg->data) open_data(leg);
        kw_dispatch_retry_now(tracker->session);
        return;
    }
    if (link != leg->data) return;
    leg->on = true;
    if (!all_on(tracker)) return;
    bool missed = tracker->reopened;
    tracker->reopened = false;
    if (tracker->confirm) {
        finish_confirm(tracker, "+OK\r\n");
    } else if (missed) {
        flush(tracker);
    }
}

struct kw_link *kw_tracking_link(struct kw_session *session, struct kw_node *node) {
    struct kw_tracker *tracker = tracker_of(session);
    struct leg *leg = leg_find(tracker, node);
    tracker->forgotten = false; /* something is about to be asked */
    if (!leg) leg = leg_open(tracker, node);
    if (leg) leg->news = true;
    return leg && leg->data && !leg->data->closing ? leg->data : NULL;
}

/* ---- life */

static void leg_close_all(struct kw_tracker *tracker) {
    while (tracker->legs) leg_close(tracker->legs, "its client tracks no more");
}

static struct kw_tracker *tracker_new(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    struct kw_tracker *tracker = kw_calloc(1, sizeof(*tracker));
    tracker->session = session;
    tracker->next = worker->trackers;
    if (worker->trackers) worker->trackers->prev = tracker;
    worker->trackers = tracker;
    return tracker;
}

/* A link that can't be told is lost like any other. */
static void say_again(struct kw_tracker *tracker, size_t new_prefixes) {
    struct leg *next;
    for (struct leg *leg = tracker->legs; leg; leg = next) {
        next = leg->next;
        if (!leg->data) continue; /* it is told all of it when it is ready */
        leg->on = false;
        if (send_on(leg->data, leg, new_prefixes)) kw_link_close(leg->data, "out of memory");
    }
}

void kw_tracking_start(struct kw_session *session, struct kw_tracking_options *options) {
    struct kw_session_rare *rare = kw_session_rare(session);
    struct kw_tracker *tracker = rare->tracker;
    struct kw_tracking_options before = {0};
    bool again = tracker != NULL;
    if (again) {
        before = tracker->options;
    } else {
        tracker = rare->tracker = tracker_new(session);
    }
    tracker->options = *options;
    *options = (struct kw_tracking_options){0};
    tracker->broken = false;
    session->tracking = true;
    session->worker->route_seq++;
    if (again && !before.redirect == !tracker->options.redirect) {
        /* The nodes go on: what they were asked before this they still tell of. */
        say_again(tracker, tracker->options.prefix_count - before.prefix_count);
    } else if (again) {
        /* Pushes come on other links from now on, and those of before know nothing of what was read. */
        leg_close_all(tracker);
        flush(tracker);
    }
    kw_tracking_options_deinit(&before);
}

static void open_all(struct kw_tracker *tracker) {
    struct kw_worker *worker = tracker->session->worker;
    for (struct kw_node *node = worker->nodes; node; node = node->next) {
        if (node->serves_slots && !node->failed && !leg_find(tracker, node)) leg_open(tracker, node);
    }
}

void kw_tracking_confirm(struct kw_session *session, struct kw_request *req) {
    struct kw_tracker *tracker = tracker_of(session);
    struct kw_worker *worker = session->worker;
    tracker->confirm = req;
    tracker->confirm_due_us = kw_worker_now_us(worker) + kw_server_limits(worker->server)->request_timeout_us;
    if (tracker->options.bcast) {
        open_all(tracker);
    } else {
        finish_confirm(tracker, "+OK\r\n");
    }
}

void kw_tracking_stop(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    struct kw_tracker *tracker = tracker_of(session);
    if (!tracker) return;
    leg_close_all(tracker);
    finish_confirm(tracker,
                   "-CLUSTERDOWN Not every primary could be reached within request-timeout: nothing is tracked\r\n");
    if (tracker->prev) {
        tracker->prev->next = tracker->next;
    } else {
        worker->trackers = tracker->next;
    }
    if (tracker->next) tracker->next->prev = tracker->prev;
    kw_tracking_options_deinit(&tracker->options);
    kw_free(tracker);
    session->rare->tracker = NULL;
    session->tracking = false;
    worker->route_seq++;
}

/* The nodes go on tracking; only their replies change. A link that cannot be told so is lost like any other. */
static void speak(struct kw_tracker *tracker) {
    struct leg *next;
    for (struct leg *leg = tracker->legs; leg; leg = next) {
        next = leg->next;
        if (leg->data && kw_link_speak(leg->data, kw_session_resp(tracker->session))) {
            kw_link_close(leg->data, "out of memory");
        }
    }
}

void kw_tracking_protocol(struct kw_session *session) {
    struct kw_tracker *tracker = tracker_of(session);
    if (!tracker || !tracker->legs) return;
    if (!session->resp3 || tracker->options.redirect) {
        speak(tracker);
        return;
    }
    /* In RESP3 a push must come on the link of the replies: legs made for RESP2 have it on another. */
    leg_close_all(tracker);
    flush(tracker);
}

void kw_tracking_caching(struct kw_session *session, enum kw_caching caching) {
    tracker_of(session)->caching_next = caching;
}

void kw_tracking_next_command(struct kw_session *session, const struct kw_command *cmd) {
    struct kw_tracker *tracker = tracker_of(session);
    /* What was said before MULTI holds to its EXEC. */
    if (session->transaction) return;
    tracker->caching_now = tracker->caching_next;
    bool is_client = cmd->parent && strcmp(cmd->parent->name, "client") == 0;
    if (!is_client) tracker->caching_next = KW_CACHING_UNSAID;
}

enum kw_caching kw_tracking_caching_now(const struct kw_session *session) {
    const struct kw_tracker *tracker = tracker_of(session);
    return tracker ? tracker->caching_now : KW_CACHING_UNSAID;
}

int kw_tracking_send_caching(struct kw_link *link, const struct kw_request *req) {
    static const char yes[] = "*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n";
    static const char no[] = "*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$2\r\nNO\r\n";
    if (link->owner != &tracking_owner) return 0;
    bool say_yes = req->flags & KW_REQF_CACHING_YES;
    return kw_link_send_internal(link, say_yes ? yes : no, say_yes ? sizeof(yes) - 1 : sizeof(no) - 1, 0, NULL);
}

void kw_tracking_flush_all(struct kw_worker *worker) {
    struct kw_tracker *next;
    for (struct kw_tracker *tracker = worker->trackers; tracker; tracker = next) {
        next = tracker->next;
        if (!tracker->session->closing) flush(tracker);
    }
}

/* In BCAST mode every primary has to be heard, whether the client asks it anything or not. */
void kw_tracking_tick(struct kw_worker *worker) {
    struct kw_tracker *next_tracker;
    for (struct kw_tracker *tracker = worker->trackers; tracker; tracker = next_tracker) {
        next_tracker = tracker->next;
        struct leg *next;
        for (struct leg *leg = tracker->legs; leg; leg = next) {
            next = leg->next;
            bool idle = !leg->data || !leg->data->head;
            if (!leg->node->serves_slots && idle) leg_close(leg, "the node serves no slots any more");
        }
        if (tracker->options.bcast && !tracker->session->closing) open_all(tracker);
        if (tracker->confirm && kw_worker_now_us(worker) >= tracker->confirm_due_us) kw_tracking_stop(tracker->session);
    }
}
