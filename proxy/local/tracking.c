/*
 * CLIENT TRACKING, CACHING, TRACKINGINFO, GETREDIR. The checks and words are
 * those of Redis 7.0 (networking.c: clientCommand, tracking.c).
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/local/local.h"
#include "proxy/session/session.h"
#include "proxy/tour.h"
#include "proxy/tracking/tracking.h"
#include "proxy/worker.h"

/* CLIENT TRACKING while the client named by REDIRECT is looked for. */
struct start {
    struct kw_tracking_options options;
    struct kw_request *req; /* borrowed: lives until it is answered */
    bool found;
};

static void start_free(void *context) {
    struct start *start = context;
    kw_tracking_options_deinit(&start->options);
    kw_free(start);
}

static void add_prefix(struct kw_tracking_options *options, const struct kw_arg *prefix) {
    options->prefixes = kw_realloc(options->prefixes, (options->prefix_count + 1) * sizeof(*options->prefixes));
    options->prefixes[options->prefix_count++] = (struct kw_arg){kw_strndup(prefix->data, prefix->len), prefix->len};
}

/* One option at argv[*i]; false after an error was written. */
static bool take_option(struct kw_local_call *call, struct kw_tracking_options *options, size_t *i) {
    const struct kw_arg *word = &call->argv[*i];
    bool more = *i + 1 < call->argc;
    if (kw_arg_is(word, "redirect") && more) {
        long long id;
        if (options->redirect) {
            kw_str_resp_error(call->out, "ERR A client can only redirect to a single other client");
            return false;
        }
        if (!kw_arg_int(&call->argv[++*i], &id)) {
            kw_str_resp_error(call->out, "ERR value is not an integer or out of range");
            return false;
        }
        options->redirect = (uint64_t)id;
    } else if (kw_arg_is(word, "bcast")) {
        options->bcast = true;
    } else if (kw_arg_is(word, "optin")) {
        options->optin = true;
    } else if (kw_arg_is(word, "optout")) {
        options->optout = true;
    } else if (kw_arg_is(word, "noloop")) {
        options->noloop = true;
    } else if (kw_arg_is(word, "prefix") && more) {
        add_prefix(options, &call->argv[++*i]);
    } else {
        kw_str_resp_error(call->out, "ERR syntax error");
        return false;
    }
    return true;
}

static bool begins_with(const struct kw_arg *a, const struct kw_arg *b) {
    size_t len = a->len < b->len ? a->len : b->len;
    return memcmp(a->data, b->data, len) == 0;
}

/* No prefix may be the beginning of another, or a key would be told twice. */
static bool prefixes_fit(struct kw_local_call *call, const struct kw_tracking_options *options,
                         const struct kw_tracking_options *now) {
    for (size_t i = 0; i < options->prefix_count; i++) {
        const struct kw_arg *mine = &options->prefixes[i];
        for (size_t k = 0; now && k < now->prefix_count; k++) {
            if (!begins_with(mine, &now->prefixes[k])) continue;
            kw_str_resp_error(call->out,
                              "ERR Prefix '%.*s' overlaps with an existing prefix '%.*s'. Prefixes for a single client "
                              "must not overlap.",
                              (int)mine->len, mine->data, (int)now->prefixes[k].len, now->prefixes[k].data);
            return false;
        }
        for (size_t k = i + 1; k < options->prefix_count; k++) {
            if (!begins_with(mine, &options->prefixes[k])) continue;
            kw_str_resp_error(call->out,
                              "ERR Prefix '%.*s' overlaps with another provided prefix '%.*s'. Prefixes for a single "
                              "client must not overlap.",
                              (int)mine->len, mine->data, (int)options->prefixes[k].len, options->prefixes[k].data);
            return false;
        }
    }
    return true;
}

static const char *conflict(const struct kw_tracking_options *options, const struct kw_tracking_options *now) {
    if (!options->bcast && options->prefix_count) return "PREFIX option requires BCAST mode to be enabled";
    if (now && now->bcast != options->bcast) {
        return "You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it "
               "with a different mode.";
    }
    if (options->bcast && (options->optin || options->optout)) return "OPTIN and OPTOUT are not compatible with BCAST";
    if (options->optin && options->optout) return "You can't specify both OPTIN mode and OPTOUT mode";
    if (now && ((options->optin && now->optout) || (options->optout && now->optin))) {
        return "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it "
               "with a different mode.";
    }
    return NULL;
}

/* Prefixes add up over calls; everything else is as said last. */
static void begin(struct kw_session *session, struct kw_tracking_options *options) {
    const struct kw_tracking_options *now = kw_tracking_options(session);
    for (size_t i = 0; now && i < now->prefix_count; i++) add_prefix(options, &now->prefixes[i]);
    if (options->bcast && options->prefix_count == 0) add_prefix(options, &(struct kw_arg){"", 0});
    kw_tracking_start(session, options);
}

/* The reply comes later, and what follows waits for it: it is to be tracked. */
static struct kw_request *reply_later(struct kw_local_call *call) {
    struct kw_request *req = kw_request_new_async(call->session, call->cmd);
    req->flags |= KW_REQF_EXCLUSIVE;
    call->session->hold = true;
    return req;
}

static void visit(struct kw_worker *worker, void *context) {
    struct start *start = context;
    for (struct kw_session *session = worker->sessions; session; session = session->next) {
        if (session->id != start->options.redirect) continue;
        kw_tracking_make_target(session);
        start->options.redirect_worker = worker->index;
        start->found = true;
    }
}

static void found(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    struct start *start = context;
    struct kw_session *session = start->req->session;
    (void)worker;
    (void)resp;
    if (!start->found) {
        kw_str_resp_error(out, "ERR The client ID you want redirect to does not exist");
    } else if (!session) {
        kw_str_resp_simple(out, "OK"); /* its client has gone */
    } else {
        begin(session, &start->options);
        kw_tracking_confirm(session, start->req);
    }
}

static void find_target(struct kw_local_call *call, struct kw_tracking_options *options) {
    struct start *start = kw_calloc(1, sizeof(*start));
    start->options = *options;
    start->req = reply_later(call);
    *options = (struct kw_tracking_options){0};
    struct kw_tour tour = {visit, found, start_free, start};
    kw_tour_start(call->session->worker, start->req, &tour);
}

static void turn_on(struct kw_local_call *call, struct kw_tracking_options *options) {
    const struct kw_tracking_options *now = kw_tracking_options(call->session);
    const char *why = conflict(options, now);
    if (why) {
        kw_str_resp_error(call->out, "ERR %s", why);
    } else if (!prefixes_fit(call, options, now)) {
        return;
    } else if (options->redirect) {
        find_target(call, options);
    } else {
        begin(call->session, options);
        call->session->worker->async_requests++;
        kw_tracking_confirm(call->session, reply_later(call));
    }
}

void kw_local_client_tracking(struct kw_local_call *call) {
    struct kw_tracking_options options = {0};
    bool ok = true;
    for (size_t i = 3; ok && i < call->argc; i++) ok = take_option(call, &options, &i);
    if (ok && kw_arg_is(&call->argv[2], "on")) {
        turn_on(call, &options);
    } else if (ok && kw_arg_is(&call->argv[2], "off")) {
        kw_tracking_stop(call->session);
        kw_str_resp_simple(call->out, "OK");
    } else if (ok) {
        kw_str_resp_error(call->out, "ERR syntax error");
    }
    kw_tracking_options_deinit(&options);
}

void kw_local_client_caching(struct kw_local_call *call) {
    const struct kw_tracking_options *now = kw_tracking_options(call->session);
    bool yes = kw_arg_is(&call->argv[2], "yes");
    if (!now) {
        kw_str_resp_error(call->out, "ERR CLIENT CACHING can be called only when the client is in tracking mode with "
                                     "OPTIN or OPTOUT mode enabled");
    } else if (!yes && !kw_arg_is(&call->argv[2], "no")) {
        kw_str_resp_error(call->out, "ERR syntax error");
    } else if (yes && !now->optin) {
        kw_str_resp_error(call->out, "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
    } else if (!yes && !now->optout) {
        kw_str_resp_error(call->out, "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
    } else {
        kw_tracking_caching(call->session, yes ? KW_CACHING_YES : KW_CACHING_NO);
        kw_str_resp_simple(call->out, "OK");
    }
}

void kw_local_client_getredir(struct kw_local_call *call) {
    const struct kw_tracking_options *now = kw_tracking_options(call->session);
    kw_str_resp_int(call->out, now ? (long long)now->redirect : -1);
}

void kw_local_client_trackinginfo(struct kw_local_call *call) {
    struct kw_session *session = call->session;
    const struct kw_tracking_options *now = kw_tracking_options(session);
    enum kw_caching caching = kw_tracking_caching_now(session);
    const struct {
        const char *name;
        bool on;
    } flags[] = {
        {"off", !now},
        {"on", now},
        {"bcast", now && now->bcast},
        {"optin", now && now->optin},
        {"caching-yes", now && now->optin && caching == KW_CACHING_YES},
        {"optout", now && now->optout},
        {"caching-no", now && now->optout && caching == KW_CACHING_NO},
        {"noloop", now && now->noloop},
        {"broken_redirect", kw_tracking_is_broken(session)},
    };
    size_t count = 0;
    for (size_t i = 0; i < KW_ARRAY_LEN(flags); i++) count += flags[i].on;
    kw_str_resp_map(call->out, call->resp, 3);
    kw_str_resp_text(call->out, "flags");
    kw_str_resp_set(call->out, call->resp, count);
    for (size_t i = 0; i < KW_ARRAY_LEN(flags); i++) {
        if (flags[i].on) kw_str_resp_text(call->out, flags[i].name);
    }
    kw_str_resp_text(call->out, "redirect");
    kw_str_resp_int(call->out, now ? (long long)now->redirect : -1);
    kw_str_resp_text(call->out, "prefixes");
    kw_str_resp_array(call->out, now ? now->prefix_count : 0);
    for (size_t i = 0; now && i < now->prefix_count; i++) {
        kw_str_resp_bulk(call->out, now->prefixes[i].data, now->prefixes[i].len);
    }
}
