/*
 * What the files of the door share: the door itself, a connection, a call of a
 * command, and the slot in which a reply waits for its turn.
 *
 * A request's life: session.c cuts it out of the bytes, commands.c finds its row and
 * runs it or asks the replica first (call.c), a handler writes the reply to
 * call->out, or takes a slot and fills it later. Replies leave in the order of the
 * requests (slot.c), all that became due in a turn in one write (output.c).
 */
#ifndef KW_RAFT_DOOR_INTERNAL_H
#define KW_RAFT_DOOR_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/arg.h"
#include "base/bind.h"
#include "base/buffer.h"
#include "base/resp_request.h"
#include "base/str.h"
#include "base/table.h"
#include "raft/door/door.h"

enum {
    KW_DOOR_READ_SIZE = 64 * 1024,
    KW_DOOR_BULK_MAX = 512 * 1024 * 1024,  /* of one word of a request; a backup must fit, to come back */
    KW_DOOR_OUTPUT_MAX = 64 * 1024 * 1024, /* unread bytes of one connection; more closes it */
    KW_DOOR_OUT_HIGH = 1024 * 1024,        /* unread bytes from which no more requests are taken */
    KW_DOOR_INFLIGHT_MAX = 1024,           /* requests of one connection that wait; no more are taken then */
    KW_DOOR_MAPS_KEPT = 8,                 /* older maps, so that a watcher that comes back gets the difference */
    KW_DOOR_ADDRESS_SIZE = KW_META_ADDRESS_SIZE,
};

struct kw_door_session;
struct kw_door_slot;
struct kw_door_call;

typedef void kw_door_handler(struct kw_door_call *call);

/* A command: a row of the table in commands.c. */
enum kw_door_kind {
    KW_DOOR_LOCAL, /* needs no state, or this node's own */
    KW_DOOR_READ,  /* confirmed by the quorum first, where this node leads */
    KW_DOOR_WRITE, /* the leader's; the handler submits */
    KW_DOOR_GROUP, /* has subcommands */
};
enum {
    KW_DOOR_NO_AUTH = 1, /* also before authentication */
    KW_DOOR_IDLE = 2,    /* waits until everything before it is answered */
    KW_DOOR_INSIST = 4,  /* a read that only the leader answers */
    KW_DOOR_NO_ID = 8,   /* a write that cannot carry a request id */
};
struct kw_door_row {
    const char *name; /* words joined by |, lower case; the table is sorted by it */
    int arity;        /* of all words; negative: at least so many */
    enum kw_door_kind kind;
    unsigned flags;
    kw_door_handler *run;
    const char *args; /* for HELP: what follows the words */
    const char *help; /* for HELP; NULL: not shown */
};

/* Of `words` (at least one): the row of the longest name that they begin with, NULL for none. Pure. */
const struct kw_door_row *kw_door_find(const struct kw_arg *words, size_t count);
const struct kw_door_row *kw_door_rows(size_t *count);

struct kw_door_watch {
    struct kw_door_session *prev, *next;
    struct kw_map *sent; /* own reference: what this connection was sent last; NULL: nothing */
    bool on;
    bool due; /* a change came while a long reply was under way */
};

struct kw_door_session {
    uv_tcp_t tcp; /* first */
    struct kw_door *door;
    struct kw_door_session *prev, *next;
    struct kw_door_session *dirty_next;
    uint64_t id;
    uint64_t since_ms, last_ms;
    char *name, *lib_name, *lib_version; /* own; NULL: none */
    const struct kw_door_row *last;
    int resp;
    bool authenticated;
    bool no_evict, no_touch;
    bool dirty;
    bool closing;
    bool ending;  /* nothing more is read; closed when all replies are written */
    bool paused;  /* not reading: too much waits */
    bool held;    /* the next request waits until nothing is before it */
    bool writing; /* a uv_write is under way */
    /* in */
    struct kw_request_parse parse;
    char *carry; /* own; a request that has not come whole, or must wait */
    size_t carry_len, carry_cap;
    /* what waits */
    struct kw_door_slot *head, *tail;
    unsigned slot_count;
    size_t held_bytes; /* replies that wait for their turn */
    /* out */
    struct kw_outq out;
    uv_write_t write;
    size_t write_len; /* bytes of `out` that it carries */
    struct kw_door_watch watch;
};

typedef void kw_door_answer(struct kw_door_slot *slot, const struct kw_meta_result *result);

/* A place in the order of replies, for a request whose reply comes later. */
struct kw_door_slot {
    struct kw_door_slot *next;
    struct kw_door *door;
    struct kw_door_session *session; /* NULL: the client has gone */
    bool done;
    int resp;
    struct kw_str reply;
    /* Of a write: how the state machine's result is told. */
    kw_door_answer *answer;
    unsigned waiting; /* records under way */
    long long count;
    int code; /* first failure; of a read: whether it is confirmed */
    void *own;
    void (*free_own)(void *own);
    /* Of a read: the call, for when it is confirmed. */
    const struct kw_door_row *row;
    bool insist;
    bool read_due; /* confirmed (see `code`), not done yet */
    /* Of a reply that is too long to be built: pieces of an image, told as the client reads. */
    struct kw_meta_image *image; /* own */
    size_t piece, piece_off;
    bool begun;
    size_t argc;
    struct kw_arg argv[];
};

struct kw_door_call {
    struct kw_door *door;
    struct kw_door_session *session;
    const struct kw_door_row *row;
    const struct kw_arg *argv; /* all words; borrowed for the call */
    size_t argc;
    const struct kw_arg *args; /* those behind the command's name */
    size_t arg_count;
    int resp;
    bool linear; /* confirmed by the quorum */
    bool has_id;
    unsigned char request_id[KW_REQUEST_ID_SIZE];
    struct kw_str *out;        /* the reply */
    struct kw_door_slot *slot; /* set: the reply comes later, or (a confirmed read) is told into this slot */
};

struct kw_door_encoded;

struct kw_door {
    uv_loop_t *loop;
    uv_tcp_t listeners[KW_BIND_MAX];
    unsigned listener_count;
    uv_prepare_t flush;
    uv_idle_t awake; /* keeps the loop from waiting while something is to be written */
    uv_timer_t tick;
    struct kw_door_options options;
    struct kw_replica *replica;   /* borrowed; NULL: not yet, or not any more */
    struct kw_observer *observer; /* borrowed */
    struct kw_pool *pool;
    char *read_buffer;
    struct kw_arg *argv; /* scratch */
    size_t argv_cap;
    struct kw_str scratch;
    struct kw_door_session *sessions;
    struct kw_door_session *dirty;
    size_t session_count;
    unsigned open_handles;
    bool shut, hushed;
    void (*closed)(void *ctx);
    void *closed_ctx;
    uint64_t next_id, started_ms;
    uint64_t connections, rejected, commands, errors, bytes_in, bytes_out, slow_closed;
    char run_id[41];
    /* watch.c */
    struct kw_door_session *watchers;
    size_t watcher_count;
    struct kw_map *map; /* own reference: what watchers were sent last */
    struct kw_map *older[KW_DOOR_MAPS_KEPT];
    unsigned older_next;
    struct kw_door_encoded *encoded; /* of `map` */
    uint64_t alive_leader;
    uint64_t pushes;
    /* keyway_proxies.c */
    struct kw_table heard;
    bool leading;
};

/* ---- door.c */
void kw_door_session_gone(struct kw_door_session *session); /* its handle is closed */
bool kw_door_needs_secret(const struct kw_door *door);

/* ---- session.c */
void kw_door_accept(struct kw_door *door, uv_stream_t *listener);
void kw_door_close_session(struct kw_door_session *session);
/* Takes requests again, if it may. */
void kw_door_resume(struct kw_door_session *session);
void kw_door_read_stop(struct kw_door_session *session);
size_t kw_door_unread_bytes(const struct kw_door_session *session);

/* ---- commands.c */
/* Runs a request. False: it must wait until everything before it is answered. */
bool kw_door_run(struct kw_door_session *session, const struct kw_arg *argv, size_t argc);
/* The part of it that needs no connection: strips LINEAR and ID, finds the row, checks the number of words. False
 * after an error was written to call->out. `insist` for LINEAR. Pure. */
bool kw_door_resolve(struct kw_door_call *call, bool *insist);
kw_door_handler kw_door_command, kw_door_command_count, kw_door_command_docs, kw_door_command_info,
    kw_door_command_list, kw_door_help;

/* ---- slot.c */
struct kw_door_slot *kw_door_slot_new(struct kw_door_session *session, const struct kw_arg *argv, size_t argc);
/* The reply is in slot->reply (or its image): it leaves when its turn has come. The slot is gone then. */
void kw_door_slot_done(struct kw_door_slot *slot);
/* Sends what is due at the head of the queue. */
void kw_door_slots_advance(struct kw_door_session *session);
/* A reply that is there at once. */
void kw_door_reply(struct kw_door_session *session, const struct kw_str *reply);
/* The client has gone: what waits is answered to nobody. */
void kw_door_slots_forget(struct kw_door_session *session);

/* ---- output.c */
/* Appends to what is written at the end of the turn. False: the connection is closed (no memory, or too much). */
bool kw_door_send(struct kw_door_session *session, const void *bytes, size_t len);
bool kw_door_send_chunk(struct kw_door_session *session, struct kw_chunk *chunk);
void kw_door_mark(struct kw_door_session *session);
void kw_door_flush(struct kw_door *door);
/* Passes on as much of the image at the head as may wait for the socket. True when all of it has been. */
bool kw_door_stream(struct kw_door_session *session);

/* ---- call.c */
/* Asks the replica for confirmation where this node leads, then runs the row. */
void kw_door_call_read(struct kw_door_call *call, bool insist);
/* Does the read of a slot whose turn has come. */
void kw_door_read_due(struct kw_door_slot *slot);
/* Takes the call's place in the order: its reply comes with kw_door_slot_done. */
struct kw_door_slot *kw_door_later(struct kw_door_call *call);
/* Submits and answers: conflicts and refusals in the words of docs/metadata.md, success by `answer`. */
void kw_door_submit(struct kw_door_call *call, struct kw_record *record, kw_door_answer *answer);
/* The same for a slot that exists; `record` carries its own id. Counts slot->waiting. */
void kw_door_submit_more(struct kw_door_slot *slot, const struct kw_record *record, kw_replica_done *done);
/* Why nothing, or perhaps nothing, came of it. */
void kw_door_outcome(struct kw_door *door, struct kw_str *out, int code);
/* A result of the state machine that is not success. */
void kw_door_refusal(struct kw_str *out, const struct kw_meta_result *result);
/* The request id of the nth record of a call. Pure. */
void kw_door_request_id(unsigned char out[KW_REQUEST_ID_SIZE], const struct kw_door_call *call, unsigned nth);
kw_door_answer kw_door_answer_ok, kw_door_answer_version, kw_door_answer_deleted;
const struct kw_meta_state *kw_door_state(const struct kw_door *door);

/* ---- args.c: words and replies; pure */
bool kw_door_is(const struct kw_arg *arg, const char *word); /* ignoring case */
bool kw_door_int(const struct kw_arg *arg, long long *out);
bool kw_door_u64(const struct kw_arg *arg, uint64_t *out);
bool kw_door_hex_id(const struct kw_arg *arg, unsigned char out[KW_REQUEST_ID_SIZE]);
/* [EXPECT version|ABSENT] behind the arguments; false after an error was written. */
bool kw_door_expect(struct kw_str *out, const struct kw_arg *words, size_t count, bool may_be_absent, uint64_t *expect);
struct kw_door_table {
    enum kw_meta_table table;
    const char *name;
    size_t key_max, value_max;
};
/* False after an error was written. */
bool kw_door_table_find(struct kw_str *out, const struct kw_arg *word, struct kw_door_table *table);
/* Whether key and value fit the table; false after an error was written. `value` may be NULL. */
bool kw_door_table_fits(struct kw_str *out, const struct kw_door_table *table, const struct kw_arg *key,
                        const struct kw_arg *value);
int kw_door_shown(const struct kw_arg *arg); /* for "%.*s" in errors */
void kw_door_pair_int(struct kw_str *out, const char *name, long long value);
void kw_door_pair_text(struct kw_str *out, const char *name, const char *value);
void kw_door_pair_bulk(struct kw_str *out, const char *name, const void *bytes, size_t len);
/* "host:port", an IPv6 host in brackets. */
void kw_door_host_port(char out[KW_DOOR_ADDRESS_SIZE], const char *host, unsigned port);
/* The next word of blank separated text. */
struct kw_arg kw_door_word(const char **at, const char *end);
void kw_door_syntax(struct kw_door_call *call);

/* ---- watch.c */
void kw_door_watch_applied(struct kw_door *door);
void kw_door_watch_alive(struct kw_door *door);
void kw_door_watch_stop(struct kw_door_session *session);
void kw_door_watch_resume(struct kw_door_session *session); /* after a long reply */
void kw_door_watch_deinit(struct kw_door *door);
kw_door_handler kw_door_watch;

/* ---- keyway_proxies.c */
void kw_door_proxies_tick(struct kw_door *door);
void kw_door_proxies_role(struct kw_door *door);
void kw_door_proxies_deinit(struct kw_door *door);
kw_door_handler kw_door_proxies, kw_door_proxy_register, kw_door_proxy_remove;

/* ---- keyway_status.c, keyway_map.c, keyway_tables.c, keyway_members.c, keyway_attach.c, keyway_backup.c */
void kw_door_members(struct kw_door *door, const struct kw_replica_facts *facts, struct kw_str *out, int resp);
kw_door_handler kw_door_status, kw_door_ops;
kw_door_handler kw_door_shards, kw_door_nodes, kw_door_slots, kw_door_map;
kw_door_handler kw_door_table_config_get, kw_door_table_config_set, kw_door_table_config_del, kw_door_get,
    kw_door_version, kw_door_count, kw_door_scan, kw_door_put, kw_door_delete;
kw_door_handler kw_door_meta_list, kw_door_meta_add, kw_door_meta_remove, kw_door_meta_transfer;
kw_door_handler kw_door_attach, kw_door_detach;
kw_door_handler kw_door_backup, kw_door_restore;

/* A run of slots with one owner. Pure. */
struct kw_door_range {
    int first, last, owner;
};
/* Fills `out` (room for KW_SLOT_COUNT) with the runs of the map, in order; returns how many. */
size_t kw_door_ranges(const struct kw_map *map, struct kw_door_range *out);

/* ---- connection.c, client.c, config.c, info.c */
bool kw_door_same_secret(const char *secret, const struct kw_arg *given);
kw_door_handler kw_door_ping, kw_door_echo, kw_door_hello, kw_door_auth, kw_door_quit, kw_door_reset, kw_door_select,
    kw_door_shutdown;
kw_door_handler kw_door_client_id, kw_door_client_setname, kw_door_client_getname, kw_door_client_setinfo,
    kw_door_client_info, kw_door_client_list, kw_door_client_no_evict, kw_door_client_no_touch;
bool kw_door_valid_name(const struct kw_arg *name);
void kw_door_set_text(char **field, const struct kw_arg *value);
kw_door_handler kw_door_config_get, kw_door_config_set, kw_door_config_rewrite, kw_door_config_resetstat;
kw_door_handler kw_door_info;

#endif
