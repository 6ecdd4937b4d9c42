/*
 * The command table on a pipe: reads RESP requests from standard input,
 * answers on standard output, so that a test can put the same question to it
 * and to a live server. Ends at the end of input; a malformed request ends it
 * with status 1.
 *
 *   COMMAND ...              kw_command_reply()
 *   HELLO 2|3                replies follow this protocol from now on
 *   KEYS command ...         positions by kw_command_keys(), or -code
 *   VALKEY 0|1               kw_command_show_valkey()
 *   LEARN reply              kw_command_learn_reply() of the RESP text of a COMMAND reply: how many were added
 */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "cluster/command.h"

static bool read_number(char mark, size_t *value) {
    char line[32];
    if (!fgets(line, sizeof(line), stdin) || line[0] != mark) return false;
    *value = strtoul(line + 1, NULL, 10);
    return true;
}

/* The arguments of one request, own; NULL at the end of input. */
static struct kw_arg *read_request(size_t *argc) {
    if (!read_number('*', argc) || *argc == 0) return NULL;
    struct kw_arg *argv = kw_calloc(*argc, sizeof(*argv));
    for (size_t i = 0; i < *argc; i++) {
        if (!read_number('$', &argv[i].len)) exit(1);
        char *data = kw_malloc(argv[i].len + 2);
        if (fread(data, 1, argv[i].len + 2, stdin) != argv[i].len + 2) exit(1);
        argv[i].data = data;
    }
    return argv;
}

static void free_request(struct kw_arg *argv, size_t argc) {
    for (size_t i = 0; i < argc; i++) kw_free((void *)(uintptr_t)argv[i].data);
    kw_free(argv);
}

static void reply_positions(struct kw_str *out, const struct kw_arg *argv, size_t argc) {
    const struct kw_command *cmd = kw_command_resolve(argv, argc);
    if (!cmd) {
        kw_str_resp_error(out, "UNKNOWN");
        return;
    }
    struct kw_key_positions keys;
    kw_key_positions_init(&keys);
    int count = kw_command_keys(cmd, argv, argc, &keys);
    if (count < 0) {
        kw_str_resp_error(out, "%s", kw_error_text(count));
    } else {
        kw_str_resp_array(out, keys.count);
        for (unsigned i = 0; i < keys.count; i++) kw_str_resp_int(out, keys.pos[i]);
    }
    kw_key_positions_deinit(&keys);
}

static void reply_learn(struct kw_str *out, const struct kw_arg *text) {
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    redisReaderFeed(reader, text->data, text->len);
    if (redisReaderGetReply(reader, &reply) != REDIS_OK || !reply) exit(1);
    kw_str_resp_int(out, kw_command_learn_reply(reply));
    freeReplyObject(reply);
    redisReaderFree(reader);
}

static bool is(const struct kw_arg *arg, const char *word) {
    return arg->len == strlen(word) && strncasecmp(arg->data, word, arg->len) == 0;
}

static void answer(struct kw_str *out, int *resp, const struct kw_arg *argv, size_t argc) {
    if (is(&argv[0], "hello") && argc == 2) {
        *resp = argv[1].data[0] - '0';
        kw_str_resp_simple(out, "OK");
    } else if (is(&argv[0], "valkey") && argc == 2) {
        kw_command_show_valkey(argv[1].data[0] == '1');
        kw_str_resp_simple(out, "OK");
    } else if (is(&argv[0], "keys")) {
        reply_positions(out, argv + 1, argc - 1);
    } else if (is(&argv[0], "learn") && argc == 2) {
        reply_learn(out, &argv[1]);
    } else {
        kw_command_reply(out, *resp, argv, argc);
    }
}

int main(void) {
    struct kw_str out = {0};
    struct kw_arg *argv;
    size_t argc;
    int resp = 2;
    while ((argv = read_request(&argc))) {
        kw_str_clear(&out);
        answer(&out, &resp, argv, argc);
        fwrite(out.data, 1, out.len, stdout);
        fflush(stdout);
        free_request(argv, argc);
    }
    kw_str_deinit(&out);
    return 0;
}
