/*
 * The configuration engine and its globs: each type good and bad, the syntax
 * of files and of the command line, who wins over whom, all-or-nothing
 * CONFIG SET, REWRITE on real files, memory that runs out at every place.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/config.h"
#include "base/error.h"
#include "base/glob.h"

/* ---- a program with one directive of each kind ---- */

struct settings {
    bool daemonize, protected_mode;
    int policy;
    long long port, workers, timeout, memory, mode;
    char *logfile, *password, *bind, *limits, *families, *saves;
};

/* What the hooks saw; `refuse` makes a hook fail. */
struct calls {
    int timeout, memory, network, refuse_memory;
    long long applied_timeout, applied_memory;
    struct settings *settings;
};

static int reject_tmp(const char *value, char *why, size_t why_size) {
    if (strncmp(value, "/tmp/", 5) != 0) return 0;
    snprintf(why, why_size, "logs do not go to /tmp");
    return KW_EINVALID;
}

static int check_address(const char *token, char *why, size_t why_size) {
    if (strcmp(token, "nowhere") != 0) return 0;
    snprintf(why, why_size, "'%s' is no address", token);
    return KW_EINVALID;
}

static int apply_timeout(void *ctx, char *why KW_UNUSED, size_t why_size KW_UNUSED) {
    struct calls *calls = ctx;
    calls->timeout++;
    calls->applied_timeout = calls->settings->timeout;
    return 0;
}

static int apply_memory(void *ctx, char *why, size_t why_size) {
    struct calls *calls = ctx;
    calls->memory++;
    if (calls->refuse_memory) {
        snprintf(why, why_size, "not enough of it");
        return KW_ELIMIT;
    }
    calls->applied_memory = calls->settings->memory;
    return 0;
}

static int apply_network(void *ctx, char *why KW_UNUSED, size_t why_size KW_UNUSED) {
    ((struct calls *)ctx)->network++;
    return 0;
}

static const char *const policies[] = {"reject", "split", "gather", NULL};
static const char *const classes[] = {"normal", "pubsub", NULL};

#define M               KW_CONFIG_MUTABLE
#define AT(kind, field) .offset = KW_CONFIG_##kind##_AT(struct settings, field)

static const struct kw_config_row rows[] = {
    {"port", KW_CONFIG_INT, 0, AT(NUMBER, port), .value = "7379", .min = 1, .max = 65535, .help = "TCP port"},
    {"workers", KW_CONFIG_INT, 0, AT(NUMBER, workers), .value = "2", .min = 1, .max = 64, .help = "Threads"},
    {"daemonize", KW_CONFIG_BOOL, 0, AT(BOOL, daemonize), .value = "no", .help = "Run in the background"},
    {"protected-mode", KW_CONFIG_BOOL, M, AT(BOOL, protected_mode), .value = "yes", .help = "Local clients only",
     .apply = apply_network},
    {"cross-slot", KW_CONFIG_ENUM, M, AT(ENUM, policy), .value = "split", .names = policies, .help = "What to do"},
    {"timeout", KW_CONFIG_INT, M, AT(NUMBER, timeout), .value = "0", .unit = "seconds", .min = 0, .max = 1000,
     .help = "Idle clients", .apply = apply_timeout},
    {"maxmemory", KW_CONFIG_BYTES, M, AT(NUMBER, memory), .value = "1gb", .min = 1024, .max = 1LL << 40,
     .help = "Limit", .apply = apply_memory},
    {"unixsocketperm", KW_CONFIG_INT, M | KW_CONFIG_OCTAL, AT(NUMBER, mode), .value = "700", .max = 0777,
     .help = "Mode"},
    {"logfile", KW_CONFIG_STRING, M | KW_CONFIG_VOLATILE, AT(TEXT, logfile), .value = "", .help = "Log | file",
     .validate = reject_tmp, .apply = apply_network},
    {"requirepass", KW_CONFIG_SECRET, M, AT(TEXT, password), .value = "", .help = "Password"},
    {"bind", KW_CONFIG_LIST, M, AT(TEXT, bind), .value = "* -::*", .help = "Addresses", .validate = check_address},
    {"client-output-buffer-limit", KW_CONFIG_TABLE, M, AT(TEXT, limits), .value = "normal 0 0 0\npubsub 32mb 8mb 60",
     .names = classes, .shape = "ebbi", .help = "Limits by class"},
    {"family", KW_CONFIG_TABLE, M, AT(TEXT, families), .value = "", .help = "Keys that belong together"},
    {"save", KW_CONFIG_TABLE, M, AT(TEXT, saves), .value = "3600 1\n300 100", .shape = "ii", .help = "Snapshots"},
};

struct fixture {
    struct settings set;
    struct calls calls;
    struct kw_config *cfg;
    struct kw_config_error err;
    char dir[64];
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    memset(&f->set, 0xa5, sizeof(f->set)); /* the engine must not read what was there */
    f->cfg = kw_config_new(rows, KW_ARRAY_LEN(rows), &f->set);
    f->calls.settings = &f->set;
    kw_config_bind(f->cfg, &f->calls);
    snprintf(f->dir, sizeof(f->dir), "/tmp/kw_config_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    kw_alloc_fail_nth(0);
    kw_config_free(f->cfg);
    DIR *dir = opendir(f->dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2) unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
    rmdir(f->dir);
    free(f);
    return 0;
}

static const char *path_in(struct fixture *f, const char *name) {
    static char path[4][160];
    static unsigned turn;
    char *at = path[turn++ % 4];
    snprintf(at, sizeof(path[0]), "%s/%s", f->dir, name);
    return at;
}

static const char *put_file(struct fixture *f, const char *name, const char *text) {
    const char *path = path_in(f, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static const char *get_file(const char *path) {
    static char text[8192];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return text;
}

static size_t files_in(const char *path) {
    size_t count = 0;
    DIR *dir = opendir(path);
    for (struct dirent *entry; (entry = readdir(dir));) count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static int load(struct fixture *f, const char *text) {
    f->err.text[0] = '\0';
    return kw_config_load_text(f->cfg, "k.conf", text, strlen(text), &f->err);
}

static void keep_value(void *ctx, const char *name KW_UNUSED, const char *value) {
    snprintf(ctx, 256, "%s", value);
}

static const char *get(struct fixture *f, const char *name) {
    static char value[4][256];
    static unsigned turn;
    char *at = value[turn++ % 4];
    struct kw_arg pattern = {name, strlen(name)};
    strcpy(at, "(none)");
    assert_int_equal(kw_config_get(f->cfg, &pattern, 1, keep_value, at), 0);
    return at;
}

#define assert_load_fails(f, input, code, message)                                                                     \
    do {                                                                                                               \
        assert_int_equal(load(f, input), code);                                                                        \
        assert_string_equal((f)->err.text, message);                                                                   \
    } while (0)

/* ---- types ---- */

static void test_defaults(void **state) {
    struct fixture *f = *state;
    assert_int_equal(f->set.port, 7379);
    assert_false(f->set.daemonize);
    assert_true(f->set.protected_mode);
    assert_int_equal(f->set.policy, 1);
    assert_int_equal(f->set.memory, 1LL << 30);
    assert_int_equal(f->set.mode, 0700);
    assert_string_equal(f->set.logfile, "");
    assert_string_equal(f->set.bind, "* -::*");
    assert_string_equal(f->set.limits, "normal 0 0 0\npubsub 33554432 8388608 60");
    assert_string_equal(f->set.families, "");
    assert_null(kw_config_path(f->cfg));
}

static void test_bool_and_enum(void **state) {
    struct fixture *f = *state;
    assert_int_equal(load(f, "daemonize YES\ncross-slot Gather"), 0);
    assert_true(f->set.daemonize);
    assert_int_equal(f->set.policy, 2);
    assert_string_equal(get(f, "cross-slot"), "gather");
    assert_load_fails(f, "daemonize 1", KW_EINVALID,
                      "k.conf:1: bad value '1' for 'daemonize': argument must be 'yes' or 'no'");
    assert_load_fails(f, "cross-slot splt", KW_EINVALID,
                      "k.conf:1: bad value 'splt' for 'cross-slot': argument(s) must be one of the following: "
                      "reject, split, gather");
}

static void test_int(void **state) {
    struct fixture *f = *state;
    assert_int_equal(load(f, "port 65535\nunixsocketperm 640"), 0);
    assert_int_equal(f->set.port, 65535);
    assert_int_equal(f->set.mode, 0640);
    assert_string_equal(get(f, "unixsocketperm"), "640");
    assert_load_fails(
        f, "\ntimeout 1001", KW_ERANGE,
        "k.conf:2: bad value '1001' for 'timeout': argument must be between 0 and 1000 inclusive, seconds");
    static const char *const bad[] = {"12x", "''", "+1", "007", "1.5", "0x10", "99999999999999999999", "-", "' 1'"};
    for (size_t i = 0; i < KW_ARRAY_LEN(bad); i++) {
        char line[64];
        snprintf(line, sizeof(line), "port %s", bad[i]);
        assert_int_equal(load(f, line), KW_EINVALID);
        assert_non_null(strstr(f->err.text, "argument couldn't be parsed into an integer (1 to 65535)"));
    }
    assert_int_equal(load(f, "port 0"), KW_ERANGE);
    assert_int_equal(load(f, "port -1"), KW_ERANGE);
    assert_int_equal(load(f, "unixsocketperm 800"), KW_EINVALID);
    assert_int_equal(f->set.port, 65535);
}

static void test_bytes(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *text;
        long long value;
    } good[] = {{"1024", 1024},  {"5k", 5000},     {"5kb", 5120},        {"5000b", 5000},
                {"2M", 2000000}, {"2mB", 2 << 20}, {"3g", 3000000000LL}, {"3gb", 3LL << 30}};
    for (size_t i = 0; i < KW_ARRAY_LEN(good); i++) {
        assert_int_equal(kw_config_set(f->cfg, "maxmemory", good[i].text, &f->err), 0);
        assert_int_equal(f->set.memory, good[i].value);
    }
    assert_string_equal(get(f, "maxmemory"), "3221225472");
    static const char *const bad[] = {"-1", "1tb", "gb", "1 gb", "", "99999999999gb", "18446744073709551616"};
    for (size_t i = 0; i < KW_ARRAY_LEN(bad); i++) {
        assert_int_equal(kw_config_set(f->cfg, "maxmemory", bad[i], &f->err), KW_EINVALID);
        assert_non_null(strstr(f->err.text, "argument must be a memory value"));
    }
    assert_int_equal(kw_config_set(f->cfg, "maxmemory", "1023", &f->err), KW_ERANGE);
    assert_int_equal(f->set.memory, 3LL << 30);
}

static void test_string_and_hook(void **state) {
    struct fixture *f = *state;
    assert_int_equal(load(f, "logfile '/var/log/a b'"), 0);
    assert_string_equal(f->set.logfile, "/var/log/a b");
    assert_load_fails(f, "logfile /tmp/x", KW_EINVALID,
                      "k.conf:1: bad value '/tmp/x' for 'logfile': logs do not go to /tmp");
    assert_load_fails(f, "logfile a b", KW_EINVALID,
                      "k.conf:1: bad value 'a b' for 'logfile': wrong number of arguments: one expected, 2 given "
                      "(text with spaces goes in quotes)");
    assert_load_fails(f, "port 1 # mine", KW_EINVALID,
                      "k.conf:1: bad value '1 # mine' for 'port': wrong number of arguments: one expected, 3 given "
                      "(a comment needs a line of its own)");
    assert_int_equal(load(f, "logfile"), KW_EINVALID);
    assert_int_equal(load(f, "logfile \"a\\x00b\""), KW_EINVALID);
    char *long_value = malloc(KW_CONFIG_VALUE_MAX + 2);
    memset(long_value, 'v', KW_CONFIG_VALUE_MAX + 1);
    long_value[KW_CONFIG_VALUE_MAX + 1] = '\0';
    assert_int_equal(kw_config_set(f->cfg, "logfile", long_value, &f->err), KW_ELIMIT);
    free(long_value);
    assert_string_equal(f->set.logfile, "/var/log/a b");
}

static void test_list(void **state) {
    struct fixture *f = *state;
    assert_int_equal(load(f, "bind 10.0.0.1,10.0.0.2,  ::1 localhost"), 0);
    assert_string_equal(f->set.bind, "10.0.0.1 10.0.0.2 ::1 localhost");
    const char *cursor = f->set.bind;
    size_t len, count = 0;
    while (kw_config_list_next(&cursor, &len)) count += len;
    assert_int_equal(count, 8 + 8 + 3 + 9);
    assert_load_fails(f, "bind a,nowhere", KW_EINVALID,
                      "k.conf:1: bad value 'a,nowhere' for 'bind': 'nowhere' is no address");
    assert_int_equal(load(f, "bind \"\""), 0);
    assert_string_equal(f->set.bind, "");
}

static int count_words(void *ctx, const struct kw_arg *words, size_t count) {
    char *text = ctx;
    snprintf(text + strlen(text), 64, "%zu:%s;", count, words[count - 1].data);
    return 0;
}

static void test_table(void **state) {
    struct fixture *f = *state;
    assert_int_equal(load(f, "client-output-buffer-limit PUBSUB 1mb 512kb 10"), 0);
    assert_string_equal(f->set.limits, "normal 0 0 0\npubsub 1048576 524288 10");
    assert_int_equal(kw_config_set(f->cfg, "client-output-buffer-limit", "normal 1k 1k 1", &f->err), 0);
    assert_string_equal(get(f, "client-output-buffer-limit"), "normal 1000 1000 1 pubsub 1048576 524288 10");
    assert_load_fails(f, "client-output-buffer-limit normal 1 2", KW_EINVALID,
                      "k.conf:1: bad value 'normal 1 2' for 'client-output-buffer-limit': wrong number of arguments: "
                      "4 words an entry expected, 3 given");
    assert_int_equal(load(f, "client-output-buffer-limit slave 1 2 3"), KW_EINVALID);
    assert_non_null(strstr(f->err.text, "'slave' must be one of the following: normal, pubsub"));
    assert_int_equal(load(f, "client-output-buffer-limit normal x 2 3"), KW_EINVALID);
    assert_int_equal(load(f, "client-output-buffer-limit normal 1 2 -3"), KW_EINVALID);
    assert_int_equal(load(f, "client-output-buffer-limit \"\""), KW_EINVALID);

    assert_int_equal(load(f, "family a x:* 'tag needed'\nfamily b y\nfamily a z 'new line\"s\"'"), 0);
    char seen[256] = "";
    assert_int_equal(kw_config_table_each(f->set.families, count_words, seen), 0);
    assert_string_equal(seen, "3:new line\"s\";2:y;");
    assert_string_equal(f->set.saves, "3600 1\n300 100");
    assert_int_equal(load(f, "save 60 5\nsave 10 50"), 0); /* the first line replaces the default */
    assert_string_equal(f->set.saves, "60 5\n10 50");
    assert_int_equal(kw_config_set(f->cfg, "save", "", &f->err), 0);
    assert_string_equal(f->set.saves, "");
    assert_int_equal(kw_config_set(f->cfg, "save", "1 1 2 2", &f->err), 0);
    assert_string_equal(f->set.saves, "1 1\n2 2");
}

static void test_table_is_bounded(void **state) {
    struct fixture *f = *state;
    char line[64];
    for (int i = 0; i < KW_CONFIG_TABLE_ENTRIES_MAX; i++) {
        snprintf(line, sizeof(line), "family f%d x", i);
        assert_int_equal(load(f, line), 0);
    }
    assert_int_equal(load(f, "family one-more x"), KW_ELIMIT);
    assert_int_equal(load(f, "family f0 y"), 0);
}

/* ---- syntax ---- */

static void test_syntax(void **state) {
    struct fixture *f = *state;
    assert_int_equal(
        load(f, "\xef\xbb\xbf# a comment\r\n\r\n  \t# more\r\n PORT 1\r\nLogFile \"a \\\"q\\\" \\x41\\n\\\\\"\r\n"
                "requirepass 'it\\'s'\r\ntimeout 5"),
        0);
    assert_int_equal(f->set.port, 1);
    assert_string_equal(f->set.logfile, "a \"q\" A\n\\");
    assert_string_equal(f->set.password, "it's");
    assert_int_equal(f->set.timeout, 5);
    assert_load_fails(f, "port 1\nlogfile \"open", KW_EINVALID,
                      "k.conf:2: unbalanced quotes, or text glued to a closing quote");
    assert_load_fails(f, "logfile \"a\"b", KW_EINVALID,
                      "k.conf:1: unbalanced quotes, or text glued to a closing quote");
    assert_int_equal(load(f, "logfile 'a"), KW_EINVALID);
}

static void test_limits_of_files(void **state) {
    struct fixture *f = *state;
    size_t size = KW_CONFIG_FILE_MAX + 1;
    char *text = malloc(size);
    memset(text, '\n', size);
    assert_int_equal(kw_config_load_text(f->cfg, "k.conf", text, size, &f->err), KW_ELIMIT);
    assert_int_equal(kw_config_load_text(f->cfg, "k.conf", text, size - 1, &f->err), 0);
    memset(text, 'x', KW_CONFIG_LINE_MAX + 1);
    assert_int_equal(kw_config_load_text(f->cfg, "k.conf", text, size - 1, &f->err), KW_ELIMIT);
    assert_string_equal(f->err.text, "k.conf:1: line longer than 65536 bytes");
    free(text);
    assert_int_equal(kw_config_load_file(f->cfg, "/dev/zero", &f->err), KW_ELIMIT);
    assert_int_equal(kw_config_load_file(f->cfg, f->dir, &f->err), KW_EIO);
    assert_int_equal(kw_config_load_file(f->cfg, path_in(f, "absent"), &f->err), KW_EIO);
}

static void test_suggestion(void **state) {
    struct fixture *f = *state;
    assert_load_fails(f, "prot 1", KW_EUNKNOWN, "k.conf:1: unknown directive 'prot'; did you mean 'port'?");
    assert_load_fails(f, "maxmemroy 1", KW_EUNKNOWN,
                      "k.conf:1: unknown directive 'maxmemroy'; did you mean 'maxmemory'?");
    assert_load_fails(f, "elephants 1", KW_EUNKNOWN, "k.conf:1: unknown directive 'elephants'");
    assert_load_fails(f, "bad\033name 1", KW_EUNKNOWN, "k.conf:1: unknown directive 'bad?name'");
    assert_int_equal(load(f, "\"port\\x00\" 1"), KW_EUNKNOWN);
    assert_int_equal(kw_config_set(f->cfg, "time-out", "1", &f->err), KW_EUNKNOWN);
    assert_string_equal(f->err.text, "Unknown option or number of arguments for CONFIG SET - 'time-out'; did you mean "
                                     "'timeout'?");
}

static void test_include(void **state) {
    struct fixture *f = *state;
    put_file(f, "a.conf", "timeout 1\nport 10\n");
    put_file(f, "b.conf", "timeout 2\n");
    const char *main_file =
        put_file(f, "main", "port 1\ninclude a.conf\nworkers 3\ninclude *.conf\ninclude none-*.cfg\n");
    assert_int_equal(kw_config_load_file(f->cfg, main_file, &f->err), 0);
    assert_int_equal(f->set.port, 10);
    assert_int_equal(f->set.timeout, 2);
    assert_int_equal(f->set.workers, 3);
    assert_string_equal(kw_config_path(f->cfg), main_file);

    put_file(f, "b.conf", "\ntimeout x\n");
    assert_int_equal(kw_config_load_file(f->cfg, main_file, &f->err), KW_EINVALID);
    assert_non_null(strstr(f->err.text, "/b.conf:2: bad value 'x' for 'timeout'"));

    const char *absent = put_file(f, "absent", "include not-there\n");
    assert_int_equal(kw_config_load_file(f->cfg, absent, &f->err), KW_EIO);
    assert_non_null(strstr(f->err.text, "/absent:1: include of "));
    assert_load_fails(f, "include x", KW_EINVALID, "k.conf:1: include is not possible here");
}

static void test_include_loop_and_depth(void **state) {
    struct fixture *f = *state;
    put_file(f, "l2", "include l1\n");
    const char *loop = put_file(f, "l1", "port 1\ninclude l2\n");
    assert_int_equal(kw_config_load_file(f->cfg, loop, &f->err), KW_EINVALID);
    assert_non_null(strstr(f->err.text, "/l2:1: include of "));
    assert_non_null(strstr(f->err.text, "the file includes itself"));

    char name[16], text[32];
    for (int i = 0; i <= KW_CONFIG_INCLUDE_DEPTH_MAX + 1; i++) {
        snprintf(name, sizeof(name), "d%d", i);
        snprintf(text, sizeof(text), i > KW_CONFIG_INCLUDE_DEPTH_MAX ? "timeout 9\n" : "include d%d\n", i + 1);
        put_file(f, name, text);
    }
    assert_int_equal(kw_config_load_file(f->cfg, path_in(f, "d1"), &f->err), 0);
    assert_int_equal(f->set.timeout, 9);
    assert_int_equal(kw_config_load_file(f->cfg, path_in(f, "d0"), &f->err), KW_ELIMIT);
    assert_non_null(strstr(f->err.text, "nested more than 10 deep"));

    put_file(f, "leaf", "");
    FILE *wide = fopen(path_in(f, "wide"), "w");
    for (int i = 0; i < KW_CONFIG_INCLUDE_FILES_MAX; i++) fputs("include leaf\n", wide);
    fclose(wide);
    assert_int_equal(kw_config_load_file(f->cfg, path_in(f, "wide"), &f->err), KW_ELIMIT);
    assert_non_null(strstr(f->err.text, "more than 256 files"));
}

/* ---- command line ---- */

#define ARGS(...) ((char *[]){(char *)"keyway", __VA_ARGS__})
#define load_args(f, ...)                                                                                              \
    kw_config_load_args((f)->cfg, (int)KW_ARRAY_LEN(ARGS(__VA_ARGS__)), ARGS(__VA_ARGS__), &(f)->err)

static void test_args(void **state) {
    struct fixture *f = *state;
    char *file = (char *)put_file(f, "k.conf", "port 1\ntimeout 1\nworkers 1\nfamily a x\n");
    assert_int_equal(load_args(f, file, "--port", "2", "--timeout=3", "--bind", "h1", "h2", "--PORT", "4"), 0);
    assert_int_equal(f->set.port, 4);
    assert_int_equal(f->set.timeout, 3);
    assert_int_equal(f->set.workers, 1);
    assert_string_equal(f->set.bind, "h1 h2");
    assert_int_equal(load_args(f, "--workers 7", "--family", "b", "y z", "--client-output-buffer-limit", "normal",
                               "1mb", "1mb", "5"),
                     0);
    assert_int_equal(f->set.workers, 7);
    assert_string_equal(f->set.families, "a x\nb \"y z\"");
    assert_int_equal(load_args(f, "--requirepass", "--dashes", "--logfile=--port=\"x", "--daemonize", "yes"), 0);
    assert_string_equal(f->set.password, "--dashes");
    assert_string_equal(f->set.logfile, "--port=\"x");
    assert_true(f->set.daemonize);
    char *only[] = {(char *)"keyway", NULL};
    assert_int_equal(kw_config_load_args(f->cfg, 1, only, &f->err), 0);
}

#define assert_args_fail(f, code, message, ...)                                                                        \
    do {                                                                                                               \
        assert_int_equal(load_args(f, __VA_ARGS__), code);                                                             \
        assert_string_equal((f)->err.text, message);                                                                   \
    } while (0)

static void test_bad_args(void **state) {
    struct fixture *f = *state;
    assert_args_fail(f, KW_EUNKNOWN, "command line: unknown directive '--prot'; did you mean '--port'?", "--prot", "1");
    assert_args_fail(
        f, KW_EINVALID,
        "command line: bad value 'x' for '--port': argument couldn't be parsed into an integer (1 to 65535)", "--port",
        "x");
    assert_args_fail(f, KW_EINVALID,
                     "command line: bad value '' for '--daemonize': wrong number of arguments: it needs a value",
                     "--daemonize", "--port", "1");
    assert_args_fail(f, KW_EINVALID,
                     "command line: unexpected argument 'x' (first the file, then --directive value ...)", "-", "x");
    assert_args_fail(f, KW_EINVALID, "command line: '--' without the name of a directive", "--", "x");
    assert_int_equal(load_args(f, "-h", "x"), KW_EINVALID);
    assert_int_equal(load_args(f, "--=", "x"), KW_EUNKNOWN);
    assert_int_equal(load_args(f, (char *)path_in(f, "absent"), "--port", "1"), KW_EIO);
}

static void test_stdin(void **state) {
    struct fixture *f = *state;
    char *file = (char *)put_file(f, "k.conf", "port 1\ntimeout 1\nworkers 1\n");
    const char *input = put_file(f, "input", "timeout 2\nworkers 2\n");
    int saved = dup(STDIN_FILENO);
    assert_non_null(freopen(input, "r", stdin));
    assert_int_equal(load_args(f, file, "--workers", "3", "-"), 0);
    dup2(saved, STDIN_FILENO);
    close(saved);
    assert_int_equal(f->set.port, 1);
    assert_int_equal(f->set.timeout, 2);
    assert_int_equal(f->set.workers, 3);
}

/* ---- run time ---- */

static int set_many(struct fixture *f, size_t count, const char *const *texts) {
    struct kw_arg args[8];
    for (size_t i = 0; i < count; i++) args[i] = (struct kw_arg){texts[i], strlen(texts[i])};
    return kw_config_set_many(f->cfg, args, count, &f->err);
}

#define SET(f, ...) set_many(f, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void test_set(void **state) {
    struct fixture *f = *state;
    assert_int_equal(SET(f, "TIMEOUT", "7", "maxmemory", "2gb"), 0);
    assert_int_equal(f->calls.applied_timeout, 7);
    assert_int_equal(f->calls.applied_memory, 2LL << 30);
    assert_int_equal(SET(f, "timeout", "7"), 0); /* unchanged: no hook */
    assert_int_equal(f->calls.timeout, 1);
    assert_int_equal(SET(f, "logfile", "", "protected-mode", "no"), 0); /* one hook of two rows runs once */
    assert_int_equal(f->calls.network, 1);
    assert_int_equal(SET(f, "logfile", ""), 0); /* volatile: runs though unchanged */
    assert_int_equal(f->calls.network, 2);

    struct kw_arg raw[2] = {{"timeoutXX", 7}, {"88YY", 2}}; /* arguments of a command are not terminated */
    assert_int_equal(kw_config_set_many(f->cfg, raw, 2, &f->err), 0);
    assert_int_equal(f->set.timeout, 88);
    struct kw_arg nul[2] = {{"logfile", 7}, {"a\0b", 3}};
    assert_int_equal(kw_config_set_many(f->cfg, nul, 2, &f->err), KW_EINVALID);

    assert_int_equal(SET(f, "port", "1"), KW_EINVALID);
    assert_string_equal(f->err.text, "CONFIG SET failed (possibly related to argument 'port') - can't set immutable "
                                     "config: it can't be set at run time, only at start");
    assert_int_equal(f->set.port, 7379);
    assert_int_equal(SET(f, "timeout"), KW_EINVALID);
    assert_int_equal(kw_config_set_many(f->cfg, NULL, 0, &f->err), KW_EINVALID);
}

static void test_set_is_atomic(void **state) {
    struct fixture *f = *state;
    assert_int_equal(SET(f, "timeout", "5", "maxmemory", "x"), KW_EINVALID); /* refused before anything is applied */
    assert_string_equal(f->err.text,
                        "CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a "
                        "memory value (such as 100, 64kb, 1gb)");
    assert_int_equal(SET(f, "timeout", "5", "port", "1"), KW_EINVALID);
    assert_int_equal(SET(f, "timeout", "5", "nothing", "1"), KW_EUNKNOWN);
    assert_int_equal(SET(f, "timeout", "5", "bind", "h", "TimeOut", "6"), KW_EINVALID);
    assert_string_equal(f->err.text,
                        "CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter");
    assert_int_equal(f->set.timeout, 0);
    assert_string_equal(f->set.bind, "* -::*");
    assert_int_equal(f->calls.timeout, 0);
}

static void test_set_rolls_back(void **state) {
    struct fixture *f = *state;
    assert_int_equal(SET(f, "timeout", "5"), 0);
    f->calls.refuse_memory = 1;
    assert_int_equal(SET(f, "timeout", "6", "requirepass", "pw", "maxmemory", "5gb", "protected-mode", "no"),
                     KW_ELIMIT);
    assert_string_equal(f->err.text, "CONFIG SET failed (possibly related to argument 'maxmemory') - not enough of it");
    assert_int_equal(f->set.timeout, 5);
    assert_int_equal(f->calls.applied_timeout, 5); /* the hook that had run was run again with the old value */
    assert_int_equal(f->calls.timeout, 3);
    assert_int_equal(f->calls.memory, 1);
    assert_int_equal(f->calls.network, 0);
    assert_int_equal(f->set.memory, 1LL << 30);
    assert_string_equal(f->set.password, "");
    assert_true(f->set.protected_mode);
}

static void append_name(void *ctx, const char *name, const char *value) {
    char *text = ctx;
    snprintf(text + strlen(text), 64, "%s=%s ", name, value);
}

static void test_get(void **state) {
    struct fixture *f = *state;
    char seen[512] = "";
    struct kw_arg patterns[] = {{"P*", 2}, {"*t-mode", 7}, {"[t]imeout", 9}, {"port", 4}};
    assert_int_equal(kw_config_get(f->cfg, patterns, KW_ARRAY_LEN(patterns), append_name, seen), 0);
    assert_string_equal(seen, "port=7379 protected-mode=yes timeout=0 "); /* each once */
    assert_string_equal(get(f, "nothing"), "(none)");
}

static void test_secret(void **state) {
    struct fixture *f = *state;
    assert_int_equal(load(f, "requirepass hunter2\ntimeout 3"), 0);
    assert_string_equal(get(f, "requirepass"), "hunter2");
    char seen[512] = "";
    assert_int_equal(kw_config_dump(f->cfg, append_name, seen), 0);
    assert_string_equal(seen, "timeout=3 requirepass=*** ");
    assert_load_fails(f, "requirepass hunter2 hunter3", KW_EINVALID,
                      "k.conf:1: bad value '***' for 'requirepass': wrong number of arguments: one expected, 2 given");
    assert_load_fails(f, "requirepas hunter2", KW_EUNKNOWN,
                      "k.conf:1: unknown directive 'requirepas'; did you mean 'requirepass'?");
}

/* ---- rewrite ---- */

static const char *rewritten(struct fixture *f, const char *old) {
    static char kept[4096];
    char *text;
    size_t len;
    int rc = kw_config_rewrite_text(f->cfg, NULL, old, strlen(old), &text, &len, &f->err);
    if (rc) fail_msg("%s", f->err.text);
    assert_int_equal(strlen(text), len);
    snprintf(kept, sizeof(kept), "%s", text);
    kw_free(text);
    return kept;
}

static void test_rewrite_keeps_what_holds(void **state) {
    struct fixture *f = *state;
    const char *old = "# mine\r\n\r\nPORT 1\r\nmaxmemory 2048mb\ntimeout   5\nfamily a \"x\"\n"
                      "client-output-buffer-limit normal 1024 0 0 pubsub 0 0 0\n# end";
    assert_int_equal(load(f, old), 0);
    char expected[512];
    snprintf(expected, sizeof(expected), "%s\n", old);
    assert_string_equal(rewritten(f, old), expected);
    assert_string_equal(rewritten(f, ""), "# Generated by CONFIG REWRITE\nport 1\ntimeout 5\nmaxmemory 2gb\n"
                                          "client-output-buffer-limit normal 1kb 0 0\n"
                                          "client-output-buffer-limit pubsub 0 0 0\nfamily a x\n");
}

static void test_rewrite_changes(void **state) {
    struct fixture *f = *state;
    const char *old = "# one\ntimeout 1\r\n# two\nmaxmemory 2gb\ntimeout 2\nlogfile old\nfamily a x\nfamily b y\n"
                      "save 60 1 30 2\nbind h1\n";
    assert_int_equal(load(f, old), 0);
    assert_int_equal(SET(f, "timeout", "9", "logfile", "new \"x\"\n", "requirepass", "#1 secret"), 0);
    assert_int_equal(SET(f, "family", "a x\nb z\nc 'q r'", "save", "60 1 30 9", "bind", ""), 0);
    assert_string_equal(
        rewritten(f, old),
        "# one\ntimeout 9\r\n# two\nmaxmemory 2gb\nlogfile \"new \\\"x\\\"\\n\"\nfamily a x\nfamily b z\n"
        "save 60 1\nsave 30 9\nbind \"\"\n\n# Generated by CONFIG REWRITE\nrequirepass \"#1 secret\"\n"
        "family c \"q r\"\n");
    assert_int_equal(SET(f, "family", "c 1\na x", "save", "", "timeout", "0"), 0); /* another order; default again */
    assert_string_equal(rewritten(f, old), "# one\ntimeout 0\r\n# two\nmaxmemory 2gb\nlogfile \"new \\\"x\\\"\\n\"\n"
                                           "bind \"\"\n\n# Generated by CONFIG REWRITE\nrequirepass \"#1 secret\"\n"
                                           "family c 1\nfamily a x\nsave \"\"\n");
}

static void test_rewrite_marks_once(void **state) {
    struct fixture *f = *state;
    const char *old = "# Generated by CONFIG REWRITE\ntimeout 3\n";
    assert_int_equal(load(f, old), 0);
    assert_int_equal(SET(f, "maxmemory", "2gb"), 0);
    assert_string_equal(rewritten(f, old), "# Generated by CONFIG REWRITE\ntimeout 3\nmaxmemory 2gb\n");
}

static void test_rewrite_file(void **state) {
    struct fixture *f = *state;
    const char *path = put_file(f, "k.conf", "# mine\ntimeout 1\n");
    chmod(path, 0640);
    assert_int_equal(kw_config_rewrite(f->cfg, NULL, &f->err), KW_EINVALID);
    assert_string_equal(f->err.text, "The server is running without a config file");
    assert_int_equal(kw_config_load_file(f->cfg, path, &f->err), 0);
    assert_int_equal(SET(f, "timeout", "2", "maxmemory", "3gb"), 0);
    assert_int_equal(kw_config_rewrite(f->cfg, NULL, &f->err), 0);
    assert_string_equal(get_file(path), "# mine\ntimeout 2\n\n# Generated by CONFIG REWRITE\nmaxmemory 3gb\n");
    struct stat st;
    stat(path, &st);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(files_in(f->dir), 1);

    const char *link = path_in(f, "link");
    assert_int_equal(symlink("k.conf", link), 0);
    assert_int_equal(SET(f, "timeout", "4"), 0);
    assert_int_equal(kw_config_rewrite(f->cfg, link, &f->err), 0);
    assert_string_equal(get_file(path), "# mine\ntimeout 4\n\n# Generated by CONFIG REWRITE\nmaxmemory 3gb\n");
    lstat(link, &st);
    assert_true(S_ISLNK(st.st_mode));

    assert_int_equal(kw_config_rewrite(f->cfg, path_in(f, "fresh"), &f->err), 0);
    stat(path_in(f, "fresh"), &st);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_rewrite_with_include(void **state) {
    struct fixture *f = *state;
    put_file(f, "inc", "timeout 2\nfamily a x\nfamily b y\n");
    const char *path = put_file(f, "k.conf", "timeout 1\ninclude inc\nport 5\n");
    assert_int_equal(kw_config_load_file(f->cfg, path, &f->err), 0);
    assert_int_equal(kw_config_rewrite(f->cfg, NULL, &f->err), 0);
    assert_string_equal(get_file(path), "timeout 2\ninclude inc\nport 5\n");
    /* Values that the included file would take back must come behind it, even a default. */
    assert_int_equal(SET(f, "timeout", "0", "family", "b y"), 0);
    assert_int_equal(kw_config_rewrite(f->cfg, NULL, &f->err), 0);
    const char *expected = "include inc\nport 5\n\n# Generated by CONFIG REWRITE\ntimeout 0\nfamily \"\"\nfamily b y\n";
    assert_string_equal(get_file(path), expected);
    assert_int_equal(kw_config_rewrite(f->cfg, NULL, &f->err), 0);
    assert_string_equal(get_file(path), expected);
}

static void test_rewrite_refusals(void **state) {
    struct fixture *f = *state;
    const char *path = put_file(f, "k.conf", "timeout 1\n");
    assert_int_equal(kw_config_load_file(f->cfg, path, &f->err), 0);
    assert_int_equal(kw_config_rewrite(f->cfg, path_in(f, "absent/k.conf"), &f->err), KW_EIO);
    assert_non_null(strstr(f->err.text, "can't create a file beside"));
    /* Never a real device here: were the check gone, the rename would put a file in its place. */
    const char *fifo = path_in(f, "fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(kw_config_rewrite(f->cfg, fifo, &f->err), KW_EINVALID);
    assert_non_null(strstr(f->err.text, "is not a regular file"));
    assert_int_equal(unlink(fifo), 0);

    const char *broken = "timeout 1\nnonsense 1\n"; /* somebody edited it meanwhile */
    put_file(f, "k.conf", broken);
    assert_int_equal(kw_config_rewrite(f->cfg, NULL, &f->err), KW_EUNKNOWN);
    assert_non_null(strstr(f->err.text, "k.conf:2: unknown directive 'nonsense'"));
    assert_string_equal(get_file(path), broken);
    assert_int_equal(files_in(f->dir), 1);
}

/* The limit on file sizes stops the write half-way, as a full disk does. */
static void test_rewrite_on_full_disk(void **state) {
    struct fixture *f = *state;
    const char *path = put_file(f, "k.conf", "timeout 1\n");
    char value[6000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    assert_int_equal(kw_config_load_file(f->cfg, path, &f->err), 0);
    assert_int_equal(SET(f, "logfile", value), 0);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){4096, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    int rc = kw_config_rewrite(f->cfg, NULL, &f->err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(rc, KW_EIO);
    assert_non_null(strstr(f->err.text, "can't write the new"));
    assert_string_equal(get_file(path), "timeout 1\n");
    assert_int_equal(files_in(f->dir), 1);
}

/* ---- memory ---- */

static const char everything[] = "port 5\ncross-slot gather\nlogfile \"a b\"\nbind a,b\nsave 1 2\nfamily \"x y\" z\n"
                                 "client-output-buffer-limit pubsub 1 2 3\nrequirepass pw\n";

static void test_memory_fails_while_loading(void **state) {
    struct fixture *f = *state;
    const char *path = put_file(f, "k.conf", everything);
    long nth = 1;
    for (;; nth++) {
        kw_alloc_fail_nth(nth);
        f->err.text[0] = '\0';
        int rc = kw_config_load_file(f->cfg, path, &f->err);
        kw_alloc_fail_nth(0);
        if (rc == 0) break;
        assert_int_equal(rc, KW_ENOMEM);
        assert_non_null(strstr(f->err.text, "out of memory"));
    }
    assert_true(nth > 10);
    for (nth = 1;; nth++) {
        kw_alloc_fail_nth(nth);
        int rc = load_args(f, "--port", "6", "--timeout=5", "--bind", "x", "y");
        kw_alloc_fail_nth(0);
        if (rc == 0) break;
        assert_int_equal(rc, KW_ENOMEM);
    }
    assert_true(nth > 3);
}

static void test_memory_fails_at_run_time(void **state) {
    struct fixture *f = *state;
    long nth = 1;
    for (;; nth++) {
        kw_alloc_fail_nth(nth);
        int rc = SET(f, "timeout", "5", "bind", "x y", "family", "a b\nc d", "requirepass", "pw");
        kw_alloc_fail_nth(0);
        if (rc == 0) break;
        assert_int_equal(rc, KW_ENOMEM);
        assert_int_equal(f->set.timeout, 0); /* all or nothing holds here too */
        assert_string_equal(f->set.bind, "* -::*");
        assert_string_equal(f->set.families, "");
    }
    assert_true(nth > 5);
    char seen[512] = "";
    struct kw_arg all = {"*", 1};
    kw_alloc_fail_nth(2);
    assert_int_equal(kw_config_get(f->cfg, &all, 1, append_name, seen), KW_ENOMEM);
    kw_alloc_fail_nth(2);
    assert_int_equal(kw_config_dump(f->cfg, append_name, seen), KW_ENOMEM);
}

static void test_memory_fails_while_rewriting(void **state) {
    struct fixture *f = *state;
    const char *path = put_file(f, "k.conf", everything);
    assert_int_equal(kw_config_load_file(f->cfg, path, &f->err), 0);
    assert_int_equal(SET(f, "timeout", "5", "bind", "x y", "family", "c d\na b", "save", "9 9"), 0);
    long nth = 1;
    for (;; nth++) {
        kw_alloc_fail_nth(nth);
        int rc = kw_config_rewrite(f->cfg, NULL, &f->err);
        kw_alloc_fail_nth(0);
        if (rc == 0) break;
        assert_int_equal(rc, KW_ENOMEM);
        assert_string_equal(get_file(path), everything);
    }
    assert_true(nth > 50);
    assert_int_equal(files_in(f->dir), 1);
}

/* ---- pages ---- */

static void test_pages(void **state) {
    struct fixture *f = *state;
    char *text;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    kw_config_help(f->cfg, to);
    fclose(to);
    assert_non_null(strstr(text, "  --port <integer, 1 to 65535>\n      TCP port (default: 7379; at start only)\n"));
    assert_non_null(strstr(text, "  --timeout <integer, 0 to 1000> seconds\n      Idle clients (default: 0)\n"));
    assert_non_null(
        strstr(text, "  --client-output-buffer-limit <<normal|pubsub> <size> <size> <integer>; may be rep"));
    free(text);
    to = open_memstream(&text, &len);
    kw_config_reference(f->cfg, to);
    fclose(to);
    assert_non_null(strstr(text, "| `maxmemory` | size, 1kb to 1024gb | `1gb` | yes | Limit |\n"));
    assert_non_null(strstr(text, "| `logfile` | text |  | yes | Log \\| file |\n"));
    assert_non_null(
        strstr(text, "| `save` | \\<integer> \\<integer>; may be repeated | `3600 1`<br>`300 100` | yes |"));
    size_t lines = 0;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, KW_ARRAY_LEN(rows) + 2);
    free(text);
}

/* ---- globs: each row was answered the same way by KEYS of Redis 7.0 ---- */

static void test_glob(void **state KW_UNUSED) {
    static const struct {
        const char *pattern, *text;
        bool nocase, matches;
    } cases[] = {
        {"*", "abc", false, true},
        {"*", "", false, false},
        {"", "", false, true},
        {"a*", "a", false, true},
        {"a?c", "abc", false, true},
        {"a?", "a", false, false},
        {"*b*d", "abcd", false, true},
        {"*b*d", "abcde", false, false},
        {"a**c", "abc", false, true},
        {"[a-c]x", "bx", false, true},
        {"[c-a]x", "bx", false, true},
        {"[^a-c]x", "bx", false, false},
        {"[^a-c]", "d", false, true},
        {"[ab", "a", false, true},
        {"[^", "a", false, true},
        {"[", "a", false, false},
        {"[]", "]", false, false},
        {"[\\]]", "]", false, true},
        {"[a\\-z]", "-", false, true},
        {"[a\\-z]", "b", false, false},
        {"\\*", "*", false, true},
        {"\\*", "a", false, false},
        {"a\\", "a\\", false, true},
        {"ABC", "abc", false, false},
        {"ABC", "abc", true, true},
        {"[A-C]*", "bz", true, true},
        {"max*", "MaxMemory", true, true},
        {"[\x80-\xff]", "\xc3", false, true},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        bool got = kw_glob_match(cases[i].pattern, strlen(cases[i].pattern), cases[i].text, strlen(cases[i].text),
                                 cases[i].nocase);
        if (got != cases[i].matches) fail_msg("pattern '%s', text '%s'", cases[i].pattern, cases[i].text);
    }
}

static void test_glob_takes_no_exponential_time(void **state KW_UNUSED) {
    char pattern[2001], text[4000];
    for (size_t i = 0; i < 2000; i += 2) memcpy(pattern + i, "a*", 2);
    pattern[2000] = 'b';
    memset(text, 'a', sizeof(text));
    alarm(20); /* recursion with a try at each star would not end in the life of the universe */
    assert_false(kw_glob_match(pattern, sizeof(pattern), text, sizeof(text), false));
    alarm(0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_defaults),
        CASE(test_bool_and_enum),
        CASE(test_int),
        CASE(test_bytes),
        CASE(test_string_and_hook),
        CASE(test_list),
        CASE(test_table),
        CASE(test_table_is_bounded),
        CASE(test_syntax),
        CASE(test_limits_of_files),
        CASE(test_suggestion),
        CASE(test_include),
        CASE(test_include_loop_and_depth),
        CASE(test_args),
        CASE(test_bad_args),
        CASE(test_stdin),
        CASE(test_set),
        CASE(test_set_is_atomic),
        CASE(test_set_rolls_back),
        CASE(test_get),
        CASE(test_secret),
        CASE(test_rewrite_keeps_what_holds),
        CASE(test_rewrite_changes),
        CASE(test_rewrite_marks_once),
        CASE(test_rewrite_file),
        CASE(test_rewrite_with_include),
        CASE(test_rewrite_refusals),
        CASE(test_rewrite_on_full_disk),
        CASE(test_memory_fails_while_loading),
        CASE(test_memory_fails_at_run_time),
        CASE(test_memory_fails_while_rewriting),
        CASE(test_pages),
        cmocka_unit_test(test_glob),
        cmocka_unit_test(test_glob_takes_no_exponential_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
