/*
 * Files of directives. Happy path: open, read whole (bounded), step through
 * the lines, split each into words, take each directive into the settings;
 * `include` does the same one level deeper. What can fail: the file (missing,
 * a folder, too large), a line (too long, unbalanced quotes), a directive
 * (unknown, bad value), an include (loop, too deep, too many), memory. The
 * error names file and line. The text of a file is freed here, wiped,
 * because it may hold secrets.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/config_internal.h"
#include "base/error.h"

#define WHERE_MAX 300

/* A file on the way from the main one to the one being read. */
struct source {
    const struct source *from; /* borrowed; NULL: the main one */
    const char *name;          /* borrowed; for errors */
    const char *path;          /* borrowed; relative includes start at its folder; NULL: the working directory */
    struct stat id;
    unsigned depth;
    bool may_include;
    unsigned *files; /* borrowed; files read so far, in all */
};

static int load_path(struct kw_config *cfg, const char *path, const struct source *from, unsigned *files,
                     struct kw_config_error *err);

/* ---- one directive ---- */

/* The words as somebody typed them, cut to fit a line of error. */
static void show_words(const struct kw_config_row *row, const struct kw_arg *words, size_t count, char *buf,
                       size_t size) {
    size_t used = 0;
    buf[0] = '\0';
    if (kw_config_is_secret(row)) {
        snprintf(buf, size, "***");
        return;
    }
    for (size_t i = 0; i < count && used < size; i++) {
        int n = snprintf(buf + used, size - used, "%s%s", i ? " " : "", words[i].data);
        used += (size_t)n;
    }
    if (used >= size) memcpy(buf + size - 4, "...", 4);
}

static int refuse_unknown(const struct kw_config *cfg, const char *where, const char *prefix, const struct kw_arg *name,
                          struct kw_config_error *err) {
    const char *near = kw_config_suggest(cfg, name->data, name->len);
    if (near) {
        kw_config_fail(err, "%s: unknown directive '%s%.64s'; did you mean '%s%s'?", where, prefix, name->data, prefix,
                       near);
    } else {
        kw_config_fail(err, "%s: unknown directive '%s%.64s'", where, prefix, name->data);
    }
    return KW_EUNKNOWN;
}

int kw_config_take(struct kw_config *cfg, const char *where, const char *option_prefix, const struct kw_arg *words,
                   size_t count, struct kw_config_error *err) {
    const struct kw_config_row *row = kw_config_find(cfg, words[0].data, words[0].len);
    if (!row) return refuse_unknown(cfg, where, option_prefix, &words[0], err);

    bool *given = &cfg->given[row - cfg->rows];
    bool merges = row->type == KW_CONFIG_TABLE && (*given || kw_config_table_keyed(row));
    const char *base = merges ? kw_config_value_peek(cfg, row).text : "";
    char why[KW_CONFIG_WHY_MAX], shown[64];
    struct kw_config_value value;
    int rc = kw_config_value_parse(row, words + 1, count - 1, base, !cfg->checking, &value, why, sizeof(why));
    if (rc) {
        show_words(row, words + 1, count - 1, shown, sizeof(shown));
        kw_config_fail(err, "%s: bad value '%s' for '%s%s': %s", where, shown, option_prefix, row->name, why);
        return rc;
    }
    kw_config_value_swap(cfg, row, &value);
    kw_config_value_deinit(row, &value);
    *given = true;
    return 0;
}

/* ---- include ---- */

static int include_one(struct kw_config *cfg, const struct source *source, const char *where, const char *path,
                       struct kw_config_error *err) {
    if (source->depth + 1 > KW_CONFIG_INCLUDE_DEPTH_MAX) {
        kw_config_fail(err, "%s: include of '%.100s': files nested more than %d deep", where, path,
                       KW_CONFIG_INCLUDE_DEPTH_MAX);
        return KW_ELIMIT;
    }
    if (*source->files >= KW_CONFIG_INCLUDE_FILES_MAX) {
        kw_config_fail(err, "%s: include of '%.100s': more than %d files", where, path, KW_CONFIG_INCLUDE_FILES_MAX);
        return KW_ELIMIT;
    }
    struct stat id;
    if (stat(path, &id) != 0) {
        kw_config_fail(err, "%s: include of '%.100s': %s", where, path, strerror(errno));
        return KW_EIO;
    }
    for (const struct source *s = source; s; s = s->from) {
        if (!s->path || s->id.st_dev != id.st_dev || s->id.st_ino != id.st_ino) continue;
        kw_config_fail(err, "%s: include of '%.100s': the file includes itself", where, path);
        return KW_EINVALID;
    }
    return load_path(cfg, path, source, source->files, err);
}

/* The path as the working directory sees it. Own; NULL: no memory. */
static char *resolve(const struct source *source, const char *path) {
    struct kw_config_text full = {0};
    const char *slash = source->path && path[0] != '/' ? strrchr(source->path, '/') : NULL;
    if (slash) kw_config_text_append(&full, source->path, (size_t)(slash - source->path) + 1);
    kw_config_text_puts(&full, path);
    return kw_config_text_take(&full);
}

static int include_matches(struct kw_config *cfg, const struct source *source, const char *where, const char *pattern,
                           struct kw_config_error *err) {
    glob_t found;
    int rc = glob(pattern, 0, NULL, &found);
    if (rc == GLOB_NOMATCH) return 0; /* an empty conf.d is no mistake, as in Redis */
    if (rc) {
        kw_config_fail(err, "%s: include of '%.100s': the pattern cannot be expanded", where, pattern);
        return rc == GLOB_NOSPACE ? KW_ENOMEM : KW_EIO;
    }
    for (size_t i = 0; i < found.gl_pathc && rc == 0; i++) {
        rc = include_one(cfg, source, where, found.gl_pathv[i], err);
    }
    globfree(&found);
    return rc;
}

static int include(struct kw_config *cfg, const struct source *source, const char *where, const struct kw_arg *words,
                   size_t count, struct kw_config_error *err) {
    if (!source->may_include) {
        kw_config_fail(err, "%s: include is not possible here", where);
        return KW_EINVALID;
    }
    if (count != 2 || words[1].len == 0 || memchr(words[1].data, '\0', words[1].len)) {
        kw_config_fail(err, "%s: include takes the path of one file", where);
        return KW_EINVALID;
    }
    char *path = resolve(source, words[1].data);
    if (!path) return kw_config_fail_nomem(err);
    int rc = strpbrk(words[1].data, "*?[") ? include_matches(cfg, source, where, path, err)
                                           : include_one(cfg, source, where, path, err);
    kw_free(path);
    return rc;
}

/* ---- lines and files ---- */

static int load_line(struct kw_config *cfg, const struct source *source, const char *where, const char *line,
                     size_t len, struct kw_config_error *err) {
    while (len > 0 && strchr(" \t\r", *line)) {
        if (*line == '\0') break;
        line++;
        len--;
    }
    if (len == 0 || *line == '#') return 0;
    if (len > KW_CONFIG_LINE_MAX) {
        kw_config_fail(err, "%s: line longer than %zu bytes", where, KW_CONFIG_LINE_MAX);
        return KW_ELIMIT;
    }
    struct kw_config_words words;
    int rc = kw_config_words_split(&words, line, len);
    if (rc == KW_ENOMEM) {
        kw_config_fail_nomem(err);
    } else if (rc) {
        kw_config_fail(err, "%s: unbalanced quotes, or text glued to a closing quote", where);
    } else if (words.count > 0 && strcasecmp(words.word[0].data, "include") == 0) {
        rc = include(cfg, source, where, words.word, words.count, err);
    } else if (words.count > 0) {
        rc = kw_config_take(cfg, where, "", words.word, words.count, err);
    }
    kw_config_words_deinit(&words);
    return rc;
}

static int load_lines(struct kw_config *cfg, const struct source *source, const char *text, size_t text_len,
                      struct kw_config_error *err) {
    const char *cursor = text, *end = text + text_len, *line;
    size_t len, number = 0;
    int rc = 0;
    if (text_len > KW_CONFIG_FILE_MAX) {
        kw_config_fail(err, "%.200s: larger than %zu bytes", source->name, KW_CONFIG_FILE_MAX);
        return KW_ELIMIT;
    }
    if (text_len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) cursor += 3; /* a byte order mark of some editor */
    while (rc == 0 && kw_config_line_next(&cursor, end, &line, &len)) {
        char where[WHERE_MAX];
        snprintf(where, sizeof(where), "%.250s:%zu", source->name, ++number);
        rc = load_line(cfg, source, where, line, len, err);
    }
    return rc;
}

int kw_config_slurp(int fd, const char *name, char **data, size_t *len, struct kw_config_error *err) {
    struct kw_config_text all = {0};
    char chunk[16 * 1024];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            kw_config_fail(err, "can't read '%.200s': %s", name, strerror(errno));
            kw_config_text_deinit(&all);
            return KW_EIO;
        }
        if (n == 0) break;
        kw_config_text_append(&all, chunk, (size_t)n);
        if (all.len > KW_CONFIG_FILE_MAX) {
            kw_config_fail(err, "'%.200s' is larger than %zu bytes", name, KW_CONFIG_FILE_MAX);
            kw_config_text_deinit(&all);
            return KW_ELIMIT;
        }
    }
    explicit_bzero(chunk, sizeof(chunk));
    *len = all.len;
    *data = kw_config_text_take(&all);
    return *data ? 0 : kw_config_fail_nomem(err);
}

static int load_path(struct kw_config *cfg, const char *path, const struct source *from, unsigned *files,
                     struct kw_config_error *err) {
    struct source source = {.from = from, .name = path, .path = path, .may_include = true, .files = files};
    source.depth = from ? from->depth + 1 : 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &source.id) != 0) {
        kw_config_fail(err, "can't open the configuration file '%.200s': %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return KW_EIO;
    }
    (*files)++;
    char *data;
    size_t len;
    int rc = kw_config_slurp(fd, path, &data, &len, err);
    close(fd);
    if (rc) return rc;
    rc = load_lines(cfg, &source, data, len, err);
    explicit_bzero(data, len);
    kw_free(data);
    return rc;
}

/* ---- ways in ---- */

int kw_config_load_file(struct kw_config *cfg, const char *path, struct kw_config_error *err) {
    unsigned files = 0;
    int rc = load_path(cfg, path, NULL, &files, err);
    if (rc) return rc;
    char *absolute = realpath(path, NULL);
    if (!absolute) {
        kw_config_fail(err, "can't resolve '%.200s': %s", path, strerror(errno));
        return KW_EIO;
    }
    kw_free(cfg->path);
    cfg->path = kw_strdup(absolute);
    free(absolute); /* the C library's own block */
    return 0;
}

int kw_config_load_text_at(struct kw_config *cfg, const char *source_name, const char *path, const char *text,
                           size_t len, struct kw_config_error *err) {
    unsigned files = 1;
    struct source source = {.name = source_name, .path = path, .may_include = true, .files = &files};
    if (path && stat(path, &source.id) != 0) source.id = (struct stat){0}; /* not there yet: nothing can include it */
    return load_lines(cfg, &source, text, len, err);
}

int kw_config_load_text(struct kw_config *cfg, const char *source_name, const char *text, size_t len,
                        struct kw_config_error *err) {
    unsigned files = 1;
    struct source source = {.name = source_name, .files = &files};
    return load_lines(cfg, &source, text, len, err);
}

int kw_config_load_stdin(struct kw_config *cfg, struct kw_config_error *err) {
    char *data;
    size_t len;
    int rc = kw_config_slurp(STDIN_FILENO, "standard input", &data, &len, err);
    if (rc) return rc;
    rc = kw_config_load_text_at(cfg, "standard input", NULL, data, len, err);
    explicit_bzero(data, len);
    kw_free(data);
    return rc;
}
