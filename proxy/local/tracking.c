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

enum turn { TURN_ON, TURN_OFF, TURN_WRONG };

/* CLIENT TRACKING as it was said; kept while the client named by REDIRECT is looked for. */
struct wish {
    struct kw_tracking_options options; /* own */
    enum turn turn;
    struct kw_str error;    /* own; what is wrong with the words behind REDIRECT: told if that client exists */
    struct kw_request *req; /* borrowed: lives until it is answered */
    bool found;
};

static void wish_deinit(struct wish *wish) {
    kw_tracking_options_deinit(&wish->options);
    kw_str_deinit(&wish->error);
}

static void wish_free(void *context) {
    wish_deinit(context);
    kw_free(context);
}

static void add_prefix(struct kw_tracking_options *options, const struct kw_arg *prefix) {
    options->prefixes = kw_realloc(options->prefixes, (options->prefix_count + 1) * sizeof(*options->prefixes));
    options->prefixes[options->prefix_count++] = (struct kw_arg){kw_strndup(prefix->data, prefix->len), prefix->len};
}

/* One option at argv[*i]; false after an error was written. */
static bool take_option(struct kw_local_call *call, struct wish *wish, size_t *i) {
    struct kw_tracking_options *options = &wish->options;
    const struct kw_arg *word = &call->argv[*i];
    bool more = *i + 1 < call->argc;
    if (kw_arg_is(word, "redirect") && more) {
        long long id;
        if (options->redirect) {
            kw_str_resp_error(&wish->error, "ERR A client can only redirect to a single other client");
            return false;
        }
        if (!kw_arg_int(&call->argv[++*i], &id)) {
            kw_str_resp_error(&wish->error, "ERR value is not an integer or out of range");
            return false;
        }
        options->redirect = id ? (uint64_t)id : UINT64_MAX; /* nobody has number 0 */
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
        kw_str_resp_error(&wish->error, "ERR syntax error");
        return false;
    }
    return true;
}

static bool begins_with(const struct kw_arg *a, const struct kw_arg *b) {
    size_t len = a->len < b->len ? a->len : b->len;
    return memcmp(a->data, b->data, len) == 0;
}

/* No prefix may be the beginning of another, or a key would be told twice. */
static bool prefixes_fit(struct kw_str *out, const struct kw_tracking_options *options,
                         const struct kw_tracking_options *now) {
    for (size_t i = 0; i < options->prefix_count; i++) {
        const struct kw_arg *mine = &options->prefixes[i];
        for (size_t k = 0; now && k < now->prefix_count; k++) {
            if (!begins_with(mine, &now->prefixes[k])) continue;
            kw_str_resp_error(out,
                              "ERR Prefix '%.*s' overlaps with an existing prefix '%.*s'. Prefixes for a single client "
                              "must not overlap.",
                              (int)mine->len, mine->data, (int)now->prefixes[k].len, now->prefixes[k].data);
            return false;
        }
        for (size_t k = i + 1; k < options->prefix_count; k++) {
            if (!begins_with(mine, &options->prefixes[k])) continue;
            kw_str_resp_error(out,
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

/* Prefixes add up over calls, the new ones first; none said means all keys. Everything else is as said last. */
static void begin(struct kw_session *session, struct kw_tracking_options *options) {
    const struct kw_tracking_options *now = kw_tracking_options(session);
    bool has_all = !options->bcast || options->prefix_count > 0;
    for (size_t i = 0; now && i < now->prefix_count; i++) has_all |= now->prefixes[i].len == 0;
    if (!has_all) add_prefix(options, &(struct kw_arg){"", 0});
    for (size_t i = 0; now && i < now->prefix_count; i++) add_prefix(options, &now->prefixes[i]);
    kw_tracking_start(session, options);
}

/* The reply comes later, and what follows waits for it: it is to be tracked. */
static struct kw_request *reply_later(struct kw_local_call *call) {
    struct kw_request *req = kw_request_new_async(call->session, call->cmd);
    req->flags |= KW_REQF_EXCLUSIVE;
    call->session->hold = true;
    return req;
}

/* True when tracking is to begin; otherwise the reply was written. */
static bool wants_start(struct kw_session *session, const struct wish *wish, struct kw_str *out) {
    const struct kw_tracking_options *now = kw_tracking_options(session);
    const char *why = wish->turn == TURN_ON ? conflict(&wish->options, now) : NULL;
    if (wish->error.len) {
        kw_str_append(out, wish->error.data, wish->error.len);
    } else if (wish->turn == TURN_OFF) {
        kw_tracking_stop(session);
        kw_str_resp_simple(out, "OK");
    } else if (wish->turn == TURN_WRONG) {
        kw_str_resp_error(out, "ERR syntax error");
    } else if (why) {
        kw_str_resp_error(out, "ERR %s", why);
    } else {
        return prefixes_fit(out, &wish->options, now);
    }
    return false;
}

static void visit(struct kw_worker *worker, void *context) {
    struct wish *wish = context;
    for (struct kw_session *session = worker->sessions; session; session = session->next) {
        if (session->id != wish->options.redirect) continue;
        kw_tracking_make_target(session);
        wish->options.redirect_worker = worker->index;
        wish->found = true;
    }
}

static void found(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    struct wish *wish = context;
    struct kw_session *session = wish->req->session;
    (void)worker;
    (void)resp;
    if (!wish->found) {
        kw_str_resp_error(out, "ERR The client ID you want redirect to does not exist");
    } else if (!session) {
        kw_str_resp_simple(out, "OK"); /* its client has gone */
    } else if (wants_start(session, wish, out)) {
        begin(session, &wish->options);
        kw_tracking_confirm(session, wish->req);
    }
}

static void find_target(struct kw_local_call *call, const struct wish *said) {
    struct wish *wish = kw_malloc(sizeof(*wish));
    *wish = *said;
    wish->req = reply_later(call);
    struct kw_tour tour = {visit, found, wish_free, wish};
    kw_tour_start(call->session->worker, wish->req, &tour);
}

/* The words are looked at from left to right, and REDIRECT's client is looked for when its turn comes. */
void kw_local_client_tracking(struct kw_local_call *call) {
    struct wish wish = {.turn = TURN_WRONG};
    if (kw_arg_is(&call->argv[2], "on")) wish.turn = TURN_ON;
    if (kw_arg_is(&call->argv[2], "off")) wish.turn = TURN_OFF;
    for (size_t i = 3; i < call->argc && take_option(call, &wish, &i); i++) continue;
    if (wish.options.redirect) {
        find_target(call, &wish); /* which owns the wish from here on */
        return;
    }
    if (wants_start(call->session, &wish, call->out)) {
        begin(call->session, &wish.options);
        call->session->worker->async_requests++;
        kw_tracking_confirm(call->session, reply_later(call));
    }
    wish_deinit(&wish);
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
