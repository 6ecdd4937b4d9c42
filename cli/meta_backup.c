/*
 * `keyway-cli meta backup|restore`.
 *
 * Happy path of a backup: ask the leader for the image, write it beside FILE
 * (0600: it holds configuration), sync, rename, sync the folder. So FILE is
 * the old one, or the whole new one, after whatever happens. A restore reads
 * the file, sends it whole and shows what the service holds then.
 *
 * What can fail: FILE is there already, the disk is full, the image is
 * refused (not one, damaged, newer), the service is not empty. Nothing of a
 * failed backup stays behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "cli/meta.h"
#include "cli/reply.h"
#include "cli/report.h"

enum { FILE_MAX_BYTES = 512 * 1024 * 1024 };

/* 0, or KW_EIO with errno set. */
static int bytes_write(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t written = write(fd, bytes, len);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return KW_EIO;
        bytes += written;
        len -= (size_t)written;
    }
    return 0;
}

/* Makes a rename in the file's folder last. */
static int folder_sync(const char *path) {
    char copy[PATH_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return KW_EIO;
    int rc = fsync(fd) == 0 ? 0 : KW_EIO;
    int saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

/* Puts the whole file in place in one step. Without `force` one that is there stays. 0, or KW_EIO with errno set. */
static int file_replace(const char *path, const char *bytes, size_t len, bool force) {
    char temporary[PATH_MAX];
    if ((size_t)snprintf(temporary, sizeof(temporary), "%s.%d.new", path, (int)getpid()) >= sizeof(temporary)) {
        errno = ENAMETOOLONG;
        return KW_EIO;
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return KW_EIO;
    int rc = bytes_write(fd, bytes, len);
    if (rc == 0 && fsync(fd) != 0) rc = KW_EIO;
    int saved = errno;
    if (close(fd) != 0 && rc == 0) {
        rc = KW_EIO;
        saved = errno;
    }
    errno = saved;
    if (rc == 0 && renameat2(AT_FDCWD, temporary, AT_FDCWD, path, force ? 0 : RENAME_NOREPLACE) != 0) rc = KW_EIO;
    if (rc == 0) return folder_sync(path);
    saved = errno;
    (void)unlink(temporary);
    errno = saved;
    return rc;
}

static int exists_refuse(const char *path) {
    kw_report_error("%s is there already: name another file, or overwrite it with --force", path);
    return KW_EXIT_FAILED;
}

int kw_cli_meta_backup(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options) {
    const char *path = options->words[0];
    if (!options->force && access(path, F_OK) == 0) return exists_refuse(path);
    redisReply *status = kw_cli_meta_ask(link, KW_CLI_META_LEADER, "STATUS", NULL);
    if (status == NULL) return kw_cli_meta_failed(link, &options->target, "meta backup");
    long long index = kw_cli_map_int(status, "applied_index", 0);
    freeReplyObject(status);
    redisReply *image = kw_cli_meta_ask(link, KW_CLI_META_ANY, "BACKUP", NULL);
    if (image == NULL) return kw_cli_meta_failed(link, &options->target, "meta backup");
    int code = KW_EXIT_FAILED;
    if (image->type != REDIS_REPLY_STRING || image->len == 0) {
        kw_report_error("meta backup: %s answered something that is no backup", kw_cli_meta_link_node(link));
    } else if (file_replace(path, image->str, image->len, options->force) == 0) {
        (void)printf("%s: %zu bytes, everything up to index %lld (of %s)\n", path, (size_t)image->len, index,
                     kw_cli_meta_link_node(link));
        code = KW_EXIT_OK;
    } else if (errno == EEXIST) {
        code = exists_refuse(path);
    } else {
        kw_report_error("cannot write %s: %s", path, strerror(errno));
    }
    freeReplyObject(image);
    return code;
}

/* The whole file, to be freed with kw_free; NULL when it cannot be read, reported. */
static char *file_read(const char *path, size_t *len) {
    struct stat info;
    FILE *file = fopen(path, "re");
    if (file == NULL || fstat(fileno(file), &info) != 0) {
        kw_report_error("cannot read %s: %s", path, strerror(errno));
        if (file != NULL) (void)fclose(file);
        return NULL;
    }
    char *bytes = NULL;
    if (!S_ISREG(info.st_mode) || info.st_size == 0 || info.st_size > FILE_MAX_BYTES) {
        kw_report_error("%s is no backup: %s", path,
                        !S_ISREG(info.st_mode) ? "not a file"
                        : info.st_size == 0    ? "it is empty"
                                               : "it is too large");
    } else {
        *len = (size_t)info.st_size;
        bytes = kw_malloc_try(*len);
        if (bytes == NULL || fread(bytes, 1, *len, file) != *len) {
            kw_report_error("cannot read %s: %s", path, bytes == NULL ? "out of memory" : "it ended early");
            kw_free(bytes);
            bytes = NULL;
        }
    }
    (void)fclose(file);
    return bytes;
}

static void tables_print(struct kw_cli_meta_link *link) {
    static const char *const tables[] = {"config", "scripts", "families", "proxies", "operations", "sessions", "locks"};
    const char *separator = "  ";
    for (size_t i = 0; i < KW_ARRAY_LEN(tables); i++) {
        redisReply *count = kw_cli_meta_ask(link, KW_CLI_META_ANY, "COUNT", tables[i], NULL);
        if (count == NULL) continue;
        if (kw_cli_reply_int(count, 0) > 0) {
            (void)printf("%s%lld %s", separator, kw_cli_reply_int(count, 0), tables[i]);
            separator = ", ";
        }
        freeReplyObject(count);
    }
    if (separator[0] == ',') (void)fputc('\n', stdout);
}

static int result_print(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options, size_t len) {
    (void)printf("Restored %zu bytes of %s.\n", len, options->words[0]);
    redisReply *status = kw_cli_meta_ask(link, KW_CLI_META_LEADER, "STATUS", NULL);
    if (status == NULL) {
        (void)fflush(stdout);
        kw_report_error("what it holds cannot be shown: %s", kw_cli_meta_link_error(link));
        return KW_EXIT_OK;
    }
    (void)printf("  cluster %s, recovery epoch %lld, index %lld\n", kw_cli_map_text(status, "cluster"),
                 kw_cli_map_int(status, "recovery_epoch", 0), kw_cli_map_int(status, "applied_index", 0));
    (void)printf("  %lld shards, %lld nodes, %lld slots, map %lld\n", kw_cli_map_int(status, "shards", 0),
                 kw_cli_map_int(status, "nodes", 0), kw_cli_map_int(status, "slots", 0),
                 kw_cli_map_int(status, "map_version", 0));
    freeReplyObject(status);
    tables_print(link);
    return KW_EXIT_OK;
}

int kw_cli_meta_restore(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options) {
    size_t len;
    char *bytes = file_read(options->words[0], &len);
    if (bytes == NULL) return KW_EXIT_FAILED;
    const char *words[] = {"RESTORE", bytes};
    const size_t lens[] = {7, len};
    redisReply *reply = kw_cli_meta_ask_words(link, KW_CLI_META_ONCE, words, lens, KW_ARRAY_LEN(words));
    kw_free(bytes);
    if (reply == NULL) return kw_cli_meta_failed(link, &options->target, "meta restore");
    freeReplyObject(reply);
    return result_print(link, options, len);
}
