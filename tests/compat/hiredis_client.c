/*
 * hiredis against the proxy's port (KEYWAY_PORT, KEYWAY_AUTH_PORT, KEYWAY_AUTH_PASSWORD): the blocking interface, and
 * the asynchronous one on libuv. Compiled and started by hiredis_client.py.
 *
 * A test answers whether it passed; what it found otherwise is printed with its line. hiredis before 1.0 reads RESP2
 * only, so that the RESP3 tests are counted as skipped when it is compiled with such a one. A connection that cannot be
 * made ends the program.
 */

#include <hiredis/adapters/libuv.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MANY    20000
#define OVERDUE 10
#define BIG     ((size_t)20 << 20)

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("    line %d: not so: %s\n", __LINE__, #condition);                                                 \
            return false;                                                                                              \
        }                                                                                                              \
    } while (0)

/* ------------------------------------------------------------------------------------------------ connections and
 * replies */

static int port_of(const char *variable) {
    const char *text = getenv(variable);

    if (!text) {
        printf("%s is not set\n", variable);
        exit(2);
    }
    return atoi(text);
}

static redisContext *dial_port(const char *variable) {
    const struct timeval timeout = {30, 0};
    redisContext *c = redisConnectWithTimeout("127.0.0.1", port_of(variable), timeout);

    if (!c || c->err) {
        printf("no connection: %s\n", c ? c->errstr : "no memory");
        exit(2);
    }
    redisSetTimeout(c, timeout);
    return c;
}

static redisContext *dial(void) {
    return dial_port("KEYWAY_PORT");
}

/* The following take a reply over: they check it and free it. */

static bool checked(redisReply *r, bool good) {
    if (!good) printf("    reply of type %d: %s\n", r ? r->type : -1, r && r->str ? r->str : "");
    freeReplyObject(r);
    return good;
}

static bool is_text(redisReply *r, int type, const char *text) {
    return checked(r, r && r->type == type && strcmp(r->str, text) == 0);
}

static bool is_status(redisReply *r, const char *text) {
    return is_text(r, REDIS_REPLY_STATUS, text);
}

static bool is_string(redisReply *r, const char *text) {
    return is_text(r, REDIS_REPLY_STRING, text);
}

static bool is_integer(redisReply *r, long long n) {
    return checked(r, r && r->type == REDIS_REPLY_INTEGER && r->integer == n);
}

static bool is_nil(redisReply *r) {
    return checked(r, r && r->type == REDIS_REPLY_NIL);
}

static bool is_error(redisReply *r, const char *start) {
    return checked(r, r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, start, strlen(start)) == 0);
}

static bool element_is(const redisReply *r, size_t i, const char *text) {
    return i < r->elements && r->element[i]->str && strcmp(r->element[i]->str, text) == 0;
}

static bool is_strings(redisReply *r, size_t n, const char *const *texts) {
    bool good = r && r->type == REDIS_REPLY_ARRAY && r->elements == n;

    for (size_t i = 0; good && i < n; i++) good = element_is(r, i, texts[i]);
    return checked(r, good);
}

/* Without a period that a shift could hide behind. */
static char *make_pattern(size_t size) {
    char *bytes = malloc(size);
    uint32_t x = 12345;

    if (!bytes) exit(2);
    for (size_t i = 0; i < size; i++) {
        x = x * 1664525U + 1013904223U;
        bytes[i] = (char)(x >> 24);
    }
    return bytes;
}

/* ------------------------------------------------------------------------------------------------------------ blocking
 */

static bool test_types_of_replies(void) {
    redisContext *c = dial();

    MUST(is_integer(redisCommand(c, "DEL h:list"), 0));
    MUST(is_status(redisCommand(c, "PING"), "PONG"));
    MUST(is_status(redisCommand(c, "SET h:%d %s", 7, "two words"), "OK"));
    MUST(is_string(redisCommand(c, "GET h:7"), "two words"));
    MUST(is_nil(redisCommand(c, "GET h:none")));
    MUST(is_integer(redisCommand(c, "RPUSH h:list a b c"), 3));
    MUST(is_strings(redisCommand(c, "LRANGE h:list 0 -1"), 3, (const char *const[]){"a", "b", "c"}));
    MUST(is_strings(redisCommand(c, "LRANGE h:none 0 -1"), 0, NULL));
    MUST(is_error(redisCommand(c, "INCR h:list"), "WRONGTYPE Operation against a key"));
    MUST(is_error(redisCommand(c, "GET"), "ERR wrong number of arguments for 'get' command"));
    MUST(is_error(redisCommand(c, "NOSUCH x"), "ERR unknown command 'NOSUCH'"));
    MUST(is_string(redisCommand(c, "ECHO still-here"), "still-here"));
    redisFree(c);
    return true;
}

static bool test_nested_replies(void) {
    redisContext *c = dial();
    redisReply *r =
        redisCommand(c, "EVAL %s 1 h:nested", "return {1, {'a', {2, false}}, {ok='fine'}, {err='bad'}, {}}");

    MUST(r && r->type == REDIS_REPLY_ARRAY && r->elements == 5);
    MUST(r->element[0]->integer == 1 && r->element[1]->elements == 2 && element_is(r->element[1], 0, "a"));
    MUST(r->element[1]->element[1]->element[1]->type == REDIS_REPLY_NIL);
    MUST(r->element[2]->type == REDIS_REPLY_STATUS && r->element[3]->type == REDIS_REPLY_ERROR);
    MUST(r->element[4]->type == REDIS_REPLY_ARRAY && r->element[4]->elements == 0);
    freeReplyObject(r);
    redisFree(c);
    return true;
}

static bool test_binary_arguments(void) {
    static const char key[] = "h:\0\r\n\xff", value[] = "\0$3\r\nabc\r\n";
    redisContext *c = dial();
    redisReply *r;

    MUST(is_status(redisCommand(c, "SET %b %b", key, sizeof(key), value, sizeof(value)), "OK"));
    r = redisCommand(c, "GET %b", key, sizeof(key));
    MUST(r && r->type == REDIS_REPLY_STRING && r->len == sizeof(value) && memcmp(r->str, value, r->len) == 0);
    freeReplyObject(r);
    MUST(is_integer(redisCommand(c, "EXISTS h:"), 0));
    redisFree(c);
    return true;
}

static bool test_pipeline(void) {
    redisContext *c = dial();
    void *reply;

    for (int i = 0; i < MANY; i++) {
        redisAppendCommand(c, "SET h:pipe:%d %d", i, i * 3);
        redisAppendCommand(c, "INCR h:pipe:%d", i);
        redisAppendCommand(c, "LPUSH h:pipe:%d x", i);
    }
    for (int i = 0; i < MANY; i++) {
        MUST(redisGetReply(c, &reply) == REDIS_OK && is_status(reply, "OK"));
        MUST(redisGetReply(c, &reply) == REDIS_OK && is_integer(reply, i * 3 + 1));
        MUST(redisGetReply(c, &reply) == REDIS_OK && is_error(reply, "WRONGTYPE"));
    }
    redisFree(c);
    return true;
}

static bool test_big_values(void) {
    redisContext *c = dial();
    char *value = make_pattern(BIG);
    redisReply *r;

    for (size_t size = 60000; size <= BIG; size *= 7) {
        MUST(is_status(redisCommand(c, "SET h:big %b", value, size), "OK"));
        redisAppendCommand(c, "GET h:big");
        redisAppendCommand(c, "STRLEN h:big");
        MUST(redisGetReply(c, (void **)&r) == REDIS_OK && r->type == REDIS_REPLY_STRING);
        MUST(r->len == size && memcmp(r->str, value, size) == 0);
        freeReplyObject(r);
        MUST(redisGetReply(c, (void **)&r) == REDIS_OK && is_integer(r, (long long)size));
    }
    free(value);
    redisFree(c);
    return true;
}

static bool test_transaction_and_watch(void) {
    redisContext *c = dial(), *other = dial();

    MUST(is_integer(redisCommand(c, "DEL {h}n"), 0));
    MUST(is_status(redisCommand(c, "MULTI"), "OK"));
    MUST(is_status(redisCommand(c, "SET {h}s words"), "QUEUED"));
    MUST(is_status(redisCommand(c, "GET {h}s"), "QUEUED"));
    MUST(is_strings(redisCommand(c, "EXEC"), 2, (const char *const[]){"OK", "words"}));
    MUST(is_error(redisCommand(c, "EXEC"), "ERR EXEC without MULTI"));
    MUST(is_status(redisCommand(c, "WATCH {h}n {h}s"), "OK"));
    MUST(is_integer(redisCommand(other, "INCR {h}n"), 1));
    MUST(is_status(redisCommand(c, "MULTI"), "OK"));
    MUST(is_status(redisCommand(c, "INCR {h}n"), "QUEUED"));
    MUST(is_nil(redisCommand(c, "EXEC")));
    MUST(is_string(redisCommand(c, "GET {h}n"), "1"));
    redisFree(c);
    redisFree(other);
    return true;
}

static bool test_timeouts(void) {
    redisContext *c = dial();

    MUST(is_nil(redisCommand(c, "BLPOP h:never 0.1")));
    redisSetTimeout(c, (struct timeval){0, 100000});
    MUST(redisCommand(c, "BLPOP h:never 20") == NULL && c->err == REDIS_ERR_IO);
    MUST(redisReconnect(c) == REDIS_OK);
    redisSetTimeout(c, (struct timeval){30, 0}); /* some versions keep the short one */
    MUST(is_status(redisCommand(c, "PING"), "PONG"));
    redisFree(c);
    return true;
}

static bool test_password(void) {
    redisContext *c = dial_port("KEYWAY_AUTH_PORT");

    MUST(is_error(redisCommand(c, "GET h:a"), "NOAUTH Authentication required"));
    MUST(is_error(redisCommand(c, "AUTH nope"), "WRONGPASS"));
    MUST(is_status(redisCommand(c, "AUTH default %s", getenv("KEYWAY_AUTH_PASSWORD")), "OK"));
    MUST(is_status(redisCommand(c, "SET h:a 1"), "OK"));
    redisFree(c);
    return true;
}

static bool test_quit(void) {
    redisContext *c = dial();

    MUST(is_status(redisCommand(c, "QUIT"), "OK"));
    MUST(redisCommand(c, "PING") == NULL && c->err != 0);
    redisFree(c);
    return true;
}

static bool next_is(redisContext *c, const char *kind, const char *channel, const char *text) {
    redisReply *r = NULL;

    if (redisGetReply(c, (void **)&r) != REDIS_OK) return false;
    return checked(r, r->elements == 3 && element_is(r, 0, kind) && element_is(r, 1, channel) &&
                          (text ? element_is(r, 2, text) : r->element[2]->type == REDIS_REPLY_INTEGER));
}

static bool test_subscribe(void) {
    redisContext *sub = dial(), *pub = dial();

    MUST(redisAppendCommand(sub, "SUBSCRIBE h:c1 h:c2") == REDIS_OK);
    MUST(next_is(sub, "subscribe", "h:c1", NULL) && next_is(sub, "subscribe", "h:c2", NULL));
    for (int i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i);
        MUST(is_integer(redisCommand(pub, "PUBLISH h:c%d %s", 1 + i % 2, text), 1));
        MUST(next_is(sub, "message", i % 2 ? "h:c2" : "h:c1", text));
    }
    MUST(redisAppendCommand(sub, "UNSUBSCRIBE h:c2 h:c1") == REDIS_OK);
    MUST(next_is(sub, "unsubscribe", "h:c2", NULL) && next_is(sub, "unsubscribe", "h:c1", NULL));
    MUST(is_string(redisCommand(sub, "ECHO normal"), "normal"));
    redisFree(sub);
    redisFree(pub);
    return true;
}

/* -----------------------------------------------------------------------------------------------------------------
 * RESP3 */

#if HIREDIS_MAJOR >= 1

static bool test_resp3_types(void) {
    redisContext *c = dial();
    redisReply *r = redisCommand(c, "HELLO 3");

    MUST(r && r->type == REDIS_REPLY_MAP && r->elements >= 2 && r->elements % 2 == 0);
    freeReplyObject(r);
    MUST(is_integer(redisCommand(c, "HSET h:hash f v"), 1));
    r = redisCommand(c, "HGETALL h:hash");
    MUST(r && r->type == REDIS_REPLY_MAP && r->elements == 2 && element_is(r, 0, "f") && element_is(r, 1, "v"));
    freeReplyObject(r);
    MUST(is_integer(redisCommand(c, "SADD h:set m"), 1));
    r = redisCommand(c, "SMEMBERS h:set");
    MUST(r && r->type == REDIS_REPLY_SET && r->elements == 1 && element_is(r, 0, "m"));
    freeReplyObject(r);
    MUST(is_integer(redisCommand(c, "ZADD h:zset 2.5 m"), 1));
    r = redisCommand(c, "ZSCORE h:zset m");
    MUST(r && r->type == REDIS_REPLY_DOUBLE && r->dval > 2.49 && r->dval < 2.51);
    freeReplyObject(r);
    MUST(is_nil(redisCommand(c, "GET h:none3")));
    r = redisCommand(c, "EVAL %s 1 h:any", "redis.setresp(3); return true");
    MUST(r && r->type == REDIS_REPLY_BOOL && r->integer == 1);
    freeReplyObject(r);
    r = redisCommand(c, "INFO server");
    MUST(r && r->type == REDIS_REPLY_VERB && strcmp(r->vtype, "txt") == 0 && strstr(r->str, "redis_version:"));
    freeReplyObject(r);
    MUST(is_integer(redisCommand(c, "DEL h:hash h:set h:zset"), 3));
    redisFree(c);
    return true;
}

struct pushes {
    int invalidated;
    int messages;
    int order_errors;
};

static void on_push(void *privdata, void *reply) {
    struct pushes *p = privdata;
    redisReply *r = reply;

    if (r->type == REDIS_REPLY_PUSH && element_is(r, 0, "invalidate"))
        p->invalidated += element_is(r->element[1], 0, "h:tracked");
    if (r->type == REDIS_REPLY_PUSH && element_is(r, 0, "message"))
        p->order_errors += atoi(r->element[2]->str) != p->messages++;
    freeReplyObject(r);
}

static bool test_resp3_pushes(void) {
    redisContext *c = dial(), *other = dial();
    struct pushes seen = {0, 0, 0};

    c->privdata = &seen;
    redisSetPushCallback(c, on_push);
    MUST(checked(redisCommand(c, "HELLO 3"), true));
    MUST(is_status(redisCommand(other, "SET h:tracked old"), "OK"));
    MUST(is_status(redisCommand(c, "CLIENT TRACKING ON"), "OK"));
    MUST(is_string(redisCommand(c, "GET h:tracked"), "old"));
    MUST(is_status(redisCommand(other, "SET h:tracked new"), "OK"));
    for (int i = 0; i < 5000 && !seen.invalidated; i++) MUST(is_status(redisCommand(c, "PING"), "PONG"));
    MUST(seen.invalidated == 1);
    MUST(redisAppendCommand(c, "SUBSCRIBE h:push") == REDIS_OK); /* confirmed by a push; commands go on beside it */
    MUST(is_string(redisCommand(c, "GET h:tracked"), "new"));
    for (int i = 0; i < 1000; i++) MUST(is_integer(redisCommand(other, "PUBLISH h:push %d", i), 1));
    for (int i = 0; i < 5000 && seen.messages < 1000; i++) MUST(is_status(redisCommand(c, "PING"), "PONG"));
    MUST(seen.messages == 1000 && seen.order_errors == 0);
    redisFree(c);
    redisFree(other);
    return true;
}

#endif

/* ------------------------------------------------------------------------------------------------------- asynchronous
 */

/* What the callbacks of one test share. */
struct scene {
    uv_loop_t loop;
    uv_timer_t end; /* for a scene that does not come to its end by itself */
    redisAsyncContext *first;
    redisAsyncContext *second;
    long expected; /* replies or messages that have come, each as it should be */
    long wrong;
    bool disconnected;
};

static void on_disconnect(const redisAsyncContext *ac, int status) {
    struct scene *s = ac->data;

    s->disconnected = true;
    s->wrong += status != REDIS_OK;
}

static redisAsyncContext *dial_async(struct scene *s) {
    redisAsyncContext *ac = redisAsyncConnect("127.0.0.1", port_of("KEYWAY_PORT"));

    if (!ac || ac->err) {
        printf("no connection: %s\n", ac ? ac->errstr : "no memory");
        exit(2);
    }
    ac->data = s;
    redisLibuvAttach(ac, &s->loop);
    redisAsyncSetDisconnectCallback(ac, on_disconnect);
    return ac;
}

static void on_overdue(uv_timer_t *timer) {
    struct scene *s = timer->data;

    printf("    nothing ended it within %d s\n", OVERDUE);
    s->wrong++;
    uv_stop(&s->loop);
}

static void start_scene(struct scene *s, bool two) {
    memset(s, 0, sizeof(*s));
    uv_loop_init(&s->loop);
    uv_timer_init(&s->loop, &s->end);
    s->end.data = s;
    uv_timer_start(&s->end, on_overdue, OVERDUE * 1000, 0);
    uv_unref((uv_handle_t *)&s->end);
    s->first = dial_async(s);
    s->second = two ? dial_async(s) : NULL;
}

/* Runs until every connection of the scene is closed. */
static bool end_scene(struct scene *s) {
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&s->end, NULL);
    uv_run(&s->loop, UV_RUN_NOWAIT);
    if (uv_loop_close(&s->loop)) printf("    the loop still has handles\n");
    if (s->wrong) printf("    %ld wrong, after %ld right\n", s->wrong, s->expected);
    return s->disconnected && s->wrong == 0;
}

static void on_incr(redisAsyncContext *ac, void *reply, void *privdata) {
    struct scene *s = ac->data;
    const redisReply *r = reply;
    long i = (long)(intptr_t)privdata;

    if (r && r->type == REDIS_REPLY_INTEGER && r->integer == i + 1 && i == s->expected)
        s->expected++;
    else
        s->wrong++;
    if (i == MANY - 1) redisAsyncDisconnect(ac);
}

static bool test_async_replies_in_order(void) {
    struct scene s;

    start_scene(&s, false);
    redisAsyncCommand(s.first, NULL, NULL, "DEL h:async");
    for (long i = 0; i < MANY; i++) redisAsyncCommand(s.first, on_incr, (void *)(intptr_t)i, "INCR h:async");
    MUST(end_scene(&s) && s.expected == MANY);
    return true;
}

static void on_message(redisAsyncContext *ac, void *reply, void *privdata) {
    struct scene *s = ac->data;
    const redisReply *r = reply;
    bool pattern = privdata != NULL;

    if (!r) return;
    if (element_is(r, 0, "subscribe") || element_is(r, 0, "psubscribe")) {
        for (int i = 0; i < 500 && r->element[2]->integer == 2; i++)
            redisAsyncCommand(s->second, NULL, NULL, "PUBLISH h:room:7 %d", i);
    } else if (element_is(r, 0, pattern ? "pmessage" : "message")) {
        s->wrong += atoi(r->element[pattern ? 3 : 2]->str) != (int)(s->expected / 2);
        if (++s->expected == 1000) {
            redisAsyncDisconnect(s->second);
            redisAsyncCommand(s->first, NULL, NULL, "UNSUBSCRIBE");
            redisAsyncCommand(s->first, NULL, NULL, "PUNSUBSCRIBE");
            redisAsyncDisconnect(s->first);
        }
    } else if (!element_is(r, 0, "unsubscribe") && !element_is(r, 0, "punsubscribe")) {
        s->wrong++;
    }
}

/* One subscriber, by channel and by pattern: of each message the one copy and then the other. */
static bool test_async_subscribe(void) {
    static const char by_pattern = 'p';
    struct scene s;

    start_scene(&s, true);
    redisAsyncCommand(s.first, on_message, NULL, "SUBSCRIBE h:room:7");
    redisAsyncCommand(s.first, on_message, (void *)(uintptr_t)&by_pattern, "PSUBSCRIBE h:room:*");
    MUST(end_scene(&s) && s.expected == 1000);
    return true;
}

static void on_popped(redisAsyncContext *ac, void *reply, void *privdata) {
    struct scene *s = ac->data;
    const redisReply *r = reply;

    (void)privdata;
    s->wrong += !(r && r->elements == 2 && element_is(r, 1, "job"));
    s->expected++;
    redisAsyncDisconnect(s->first);
    redisAsyncDisconnect(s->second);
}

static void on_meanwhile(redisAsyncContext *ac, void *reply, void *privdata) {
    struct scene *s = ac->data;
    const redisReply *r = reply;
    long i = (long)(intptr_t)privdata;

    s->wrong += !(r && r->type == REDIS_REPLY_INTEGER) || i != s->expected;
    s->expected++;
    if (i == 99) redisAsyncCommand(ac, NULL, NULL, "RPUSH h:async-queue job");
}

/* A pop blocks one connection while the other goes on. */
static bool test_async_blocking_pop(void) {
    struct scene s;

    start_scene(&s, true);
    redisAsyncCommand(s.first, on_popped, NULL, "BLPOP h:async-queue 20");
    for (long i = 0; i < 100; i++) redisAsyncCommand(s.second, on_meanwhile, (void *)(intptr_t)i, "INCR h:meanwhile");
    MUST(end_scene(&s) && s.expected == 101);
    return true;
}

static void on_monitored(redisAsyncContext *ac, void *reply, void *privdata) {
    struct scene *s = ac->data;
    const redisReply *r = reply;

    (void)privdata;
    if (!r) return;
    if (r->type == REDIS_REPLY_STATUS && strcmp(r->str, "OK") == 0) {
        redisAsyncCommand(s->second, NULL, NULL, "SET h:monitored 1");
        redisAsyncCommand(s->second, NULL, NULL, "ECHO h:enough");
    } else if (r->str && strstr(r->str, "] \"SET\" \"h:monitored\" \"1\"")) {
        s->expected++;
    } else if (r->str && strstr(r->str, "] \"ECHO\" \"h:enough\"")) {
        redisAsyncDisconnect(s->second);
        redisAsyncFree(s->first); /* a connection that monitors never comes to the end of its replies */
    }
}

static bool test_async_monitor(void) {
    struct scene s;

    start_scene(&s, true);
    redisAsyncCommand(s.first, on_monitored, NULL, "MONITOR");
    MUST(end_scene(&s) && s.expected == 1);
    return true;
}

/* ---------------------------------------------------------------------------------------------------------------- the
 * list */

static const struct {
    const char *name;
    bool (*run)(void); /* NULL: this hiredis cannot */
} tests[] = {
    {"types of replies", test_types_of_replies},
    {"nested replies", test_nested_replies},
    {"binary arguments", test_binary_arguments},
    {"pipeline", test_pipeline},
    {"big values", test_big_values},
    {"transaction and watch", test_transaction_and_watch},
    {"timeouts", test_timeouts},
    {"password", test_password},
    {"quit", test_quit},
    {"subscribe", test_subscribe},
#if HIREDIS_MAJOR >= 1
    {"RESP3 types", test_resp3_types},
    {"RESP3 pushes", test_resp3_pushes},
#else
    {"RESP3 types", NULL},
    {"RESP3 pushes", NULL},
#endif
    {"asynchronous: replies in order", test_async_replies_in_order},
    {"asynchronous: subscribe", test_async_subscribe},
    {"asynchronous: blocking pop", test_async_blocking_pop},
    {"asynchronous: monitor", test_async_monitor},
};

int main(void) {
    int passed = 0, failed = 0, skipped = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        if (!tests[i].run) {
            printf("%s ... skipped: hiredis %d.%d reads RESP2 only\n", tests[i].name, HIREDIS_MAJOR, HIREDIS_MINOR);
            skipped++;
            continue;
        }
        bool good = tests[i].run();
        printf("%s ... %s\n", tests[i].name, good ? "ok" : "FAILED");
        *(good ? &passed : &failed) += 1;
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed ? 1 : 0;
}
