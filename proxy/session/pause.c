/*
 * See pause.h. The state is the process's (struct kw_alert): a worker that has
 * something waiting arms its own timer for the end and looks again when that
 * has come, for the pause may have been prolonged. A pause that is over is
 * taken out of the word by the first worker that notices.
 */
#include "proxy/session/pause.h"

#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/str.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/alert.h"
#include "proxy/session/intake.h"
#include "proxy/session/session.h"
#include "proxy/session/transaction.h"
#include "proxy/upstream/scripts.h"
#include "proxy/worker.h"

enum { SHA1_HEX = 40 };

void kw_pause_init(struct kw_alert *alert) {
    uv_mutex_init(&alert->lock);
}

void kw_pause_deinit(struct kw_alert *alert) {
    uv_mutex_destroy(&alert->lock);
}

static uint64_t left_us(const struct kw_alert *alert) {
    uint64_t end_us = atomic_load(&alert->pause_end_us);
    uint64_t now_us = kw_clock_us();
    return end_us > now_us ? end_us - now_us : 0;
}

/* Under the lock. */
static void forget(struct kw_alert *alert) {
    atomic_fetch_and(&alert->word, ~(uint32_t)KW_ALERT_PAUSE);
    atomic_store(&alert->pause_end_us, 0);
}

void kw_pause_begin(struct kw_alert *alert, uint64_t timeout_ms, bool all) {
    uv_mutex_lock(&alert->lock);
    if (left_us(alert) == 0) forget(alert);
    uint64_t end_us = kw_clock_us() + timeout_ms * 1000;
    if (end_us > atomic_load(&alert->pause_end_us)) atomic_store(&alert->pause_end_us, end_us);
    atomic_fetch_or(&alert->word, all ? KW_ALERT_PAUSE_ALL : KW_ALERT_PAUSE_WRITE);
    uv_mutex_unlock(&alert->lock);
}

/* A streamed value whose bytes have not begun to flow is sent now; anything else is looked at again. */
static void wake(struct kw_session *session) {
    struct kw_request *stream = session->intake ? session->intake->stream : NULL;
    session->wait_unpause = false;
    if (stream && stream->state == KW_REQ_NEW) {
        stream->start_us = kw_worker_now_us(session->worker);
        kw_dispatch_new(session, stream, NULL, 0);
    } else {
        kw_session_resume(session);
    }
}

static void wake_all(struct kw_worker *worker) {
    bool any = false;
    struct kw_session *next;
    for (struct kw_session *session = worker->sessions; session; session = next) {
        next = session->next;
        if (!session->wait_unpause) continue;
        wake(session);
        any = true;
    }
    /* From a timer: what became due must not wait for the next event. */
    if (any) uv_async_send(&worker->wakeup);
}

static void on_timer(uv_timer_t *timer);

static void arm(struct kw_worker *worker, uint64_t us) {
    uv_update_time(&worker->loop);
    uv_timer_start(&worker->unpause, on_timer, (us + 999) / 1000, 0);
}

static void on_timer(uv_timer_t *timer) {
    struct kw_worker *worker = timer->data;
    uint64_t us = left_us(worker->alert);
    if (us > 0 && kw_alert_word(worker->alert) & KW_ALERT_PAUSE) {
        arm(worker, us);
    } else {
        wake_all(worker);
    }
}

static void take_end(struct kw_worker *worker, struct kw_message *message) {
    kw_free(message);
    if (worker->stopping) return;
    uv_timer_stop(&worker->unpause);
    wake_all(worker);
}

void kw_pause_end(struct kw_server *server) {
    struct kw_alert *alert = kw_server_alert(server);
    uv_mutex_lock(&alert->lock);
    forget(alert);
    uv_mutex_unlock(&alert->lock);
    for (unsigned i = 0; i < kw_server_worker_count(server); i++) {
        struct kw_message *message = kw_calloc(1, sizeof(*message));
        message->run = take_end;
        if (!kw_worker_post(kw_server_worker(server, i), message)) kw_free(message);
    }
}

/* "#!lua flags=no-writes,...": the script says of itself that it only reads. */
static bool declares_no_writes(const char *text, size_t len) {
    static const char flags[] = "flags=", word[] = "no-writes";
    if (len < 2 || text[0] != '#' || text[1] != '!') return false;
    const char *line_end = memchr(text, '\n', len);
    const char *end = line_end ? line_end : text + len;
    const char *at = memmem(text, (size_t)(end - text), flags, sizeof(flags) - 1);
    at = at ? at + sizeof(flags) - 1 : end;
    while (at < end && *at != ' ') {
        size_t n = 0;
        while (at + n < end && at[n] != ',' && at[n] != ' ') n++;
        if (n == sizeof(word) - 1 && memcmp(at, word, n) == 0) return true;
        at += n;
        at += at < end && *at == ',';
    }
    return false;
}

/* EVAL and EVALSHA of a script that declares it. What a function declares is known at the nodes only. */
static bool script_only_reads(struct kw_worker *worker, const struct kw_command *cmd, const struct kw_arg *script) {
    if (!script->data) return false;
    if (strcmp(cmd->name, "eval") == 0) return declares_no_writes(script->data, script->len);
    if (strcmp(cmd->name, "evalsha") != 0 || script->len != SHA1_HEX) return false;
    struct kw_scripts *scripts = kw_server_scripts(worker->server);
    struct kw_str text = {0};
    bool reads = kw_scripts_find(scripts, script->data, script->len, kw_scripts_moment(scripts), &text) &&
                 declares_no_writes(text.data, text.len);
    kw_str_deinit(&text);
    return reads;
}

bool kw_pause_may_write(const struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv,
                        size_t argc) {
    if (strcmp(cmd->name, "exec") == 0) return kw_transaction_length(session) > 0 && session->queued_write;
    if (!(cmd->flags & (KW_CMD_WRITE | KW_CMD_MAY_REPLICATE))) return false;
    return !(cmd->flags & KW_CMD_NOSCRIPT && argc > 1 && script_only_reads(session->worker, cmd, &argv[1]));
}

bool kw_pause_holds(struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv, size_t argc) {
    struct kw_worker *worker = session->worker;
    struct kw_alert *alert = worker->alert;
    uint32_t kind = kw_alert_word(alert) & KW_ALERT_PAUSE;
    /* A monitor is no normal client, and goes on. */
    if (!kind || session->monitor) return false;
    if (!(kind & KW_ALERT_PAUSE_ALL) && !kw_pause_may_write(session, cmd, argv, argc)) return false;
    uint64_t us = left_us(alert);
    if (us == 0) {
        uv_mutex_lock(&alert->lock);
        if (left_us(alert) == 0) forget(alert);
        uv_mutex_unlock(&alert->lock);
        return false;
    }
    session->wait_unpause = true;
    if (!uv_is_active((uv_handle_t *)&worker->unpause)) arm(worker, us);
    return true;
}

void kw_pause_worker_init(struct kw_worker *worker) {
    uv_timer_init(&worker->loop, &worker->unpause);
    worker->unpause.data = worker;
}

void kw_pause_worker_close(struct kw_worker *worker) {
    uv_close((uv_handle_t *)&worker->unpause, NULL);
}
