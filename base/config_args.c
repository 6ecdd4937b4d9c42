/*
 * The command line. Happy path: the optional file and standard input are
 * loaded first, then each --directive with the words that follow it is taken
 * like a line of a file; so the command line wins. Arguments are taken
 * literally: the shell has done the quoting. Fails as files do, the error
 * naming the option instead of file and line.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/config_internal.h"
#include "base/error.h"

static const char where[] = "command line";

static bool is_option(const char *arg) {
    return arg[0] == '-' && arg[1] == '-';
}

static bool is_stdin(const char *arg) {
    return strcmp(arg, "-") == 0;
}

/* True for `--name` and `--name=...` of a directive that exists. */
static bool names_directive(const struct kw_config *cfg, const char *arg) {
    return is_option(arg) && kw_config_find(cfg, arg + 2, strcspn(arg + 2, "=")) != NULL;
}

/* How many arguments from argv[i] on, an option, belong to it: itself and its values. */
static int option_extent(const struct kw_config *cfg, int argc, char *const *argv, int i) {
    int next = i + 1;
    bool has_value = strpbrk(argv[i], "= \t") != NULL;
    if (!has_value && next < argc && !names_directive(cfg, argv[next])) next++;
    while (next < argc && !is_option(argv[next])) next++;
    return next - i;
}

/* An option and its values as the words of a line. `head` holds what the option itself was split into. */
static int take_words(struct kw_config *cfg, const struct kw_arg *head, size_t head_count, char *const *values,
                      size_t value_count, struct kw_config_error *err) {
    struct kw_arg *words = kw_malloc_try((head_count + value_count) * sizeof(*words));
    if (!words) return kw_config_fail_nomem(err);
    memcpy(words, head, head_count * sizeof(*words));
    for (size_t i = 0; i < value_count; i++) words[head_count + i] = (struct kw_arg){values[i], strlen(values[i])};
    int rc = kw_config_take(cfg, where, "--", words, head_count + value_count, err);
    kw_free(words);
    return rc;
}

/* "--name=value": the value is all that follows, whatever it holds. */
static int take_assignment(struct kw_config *cfg, const char *option, size_t name_len, char *const *values,
                           size_t value_count, struct kw_config_error *err) {
    char *name = kw_malloc_try(name_len + 1);
    if (!name) return kw_config_fail_nomem(err);
    memcpy(name, option, name_len);
    name[name_len] = '\0';
    const char *value = option + name_len + 1;
    struct kw_arg head[2] = {{name, name_len}, {value, strlen(value)}};
    int rc = take_words(cfg, head, 2, values, value_count, err);
    kw_free(name);
    return rc;
}

static int take_option(struct kw_config *cfg, char *const *argv, int count, struct kw_config_error *err) {
    const char *option = argv[0] + 2;
    char *const *values = argv + 1;
    size_t value_count = (size_t)(count - 1);
    size_t name_len = strcspn(option, "= \t");
    if (option[name_len] == '=') return take_assignment(cfg, option, name_len, values, value_count, err);

    struct kw_config_words head; /* "--port 7379" in one argument is a line of its own */
    int rc = kw_config_words_split(&head, option, strlen(option));
    if (rc == KW_ENOMEM) return kw_config_fail_nomem(err);
    if (rc || head.count == 0) {
        kw_config_fail(err, rc ? "%s: unbalanced quotes in '--%.*s'" : "%s: '--' without the name of a directive",
                       where, (int)(name_len < 64 ? name_len : 64), option);
        rc = KW_EINVALID;
    } else {
        rc = take_words(cfg, head.word, head.count, values, value_count, err);
    }
    kw_config_words_deinit(&head);
    return rc;
}

int kw_config_load_args(struct kw_config *cfg, int argc, char *const *argv, struct kw_config_error *err) {
    int i = 1, end = argc, rc = 0;
    bool from_stdin = false;
    if (i < end && argv[i][0] != '-') rc = kw_config_load_file(cfg, argv[i++], err);
    if (rc == 0 && i < end && is_stdin(argv[i])) {
        from_stdin = true;
        i++;
    }
    if (i < end && is_stdin(argv[end - 1])) {
        from_stdin = true;
        end--;
    }
    if (rc == 0 && from_stdin) rc = kw_config_load_stdin(cfg, err);
    while (rc == 0 && i < end) {
        if (!is_option(argv[i])) {
            kw_config_fail(err, "%s: unexpected argument '%.64s' (first the file, then --directive value ...)", where,
                           argv[i]);
            return KW_EINVALID;
        }
        int count = option_extent(cfg, end, argv, i);
        rc = take_option(cfg, argv + i, count, err);
        i += count;
    }
    return rc;
}
