/*
 * CONFIG REWRITE on the disk: reads the old file, has the new text made
 * (config_rewrite.c), and replaces the file in one step. Happy path: a
 * temporary file beside the old one, written, given the old one's owner and
 * mode, synced, renamed over it, and the folder synced so that the rename
 * survives a power cut. Any failure before the rename removes the temporary
 * file and leaves the old one whole; a failed sync of the folder is reported
 * with the new file already in place.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/config_internal.h"
#include "base/error.h"

static int fail(struct kw_config_error *err, const char *what, const char *path) {
    kw_config_fail(err, "can't %s '%.200s': %s", what, path, strerror(errno));
    return KW_EIO;
}

static bool write_all(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static int sync_folder(const char *path, struct kw_config_error *err) {
    char *folder = kw_strdup(path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder ? 1 : 0] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? fail(err, "sync the folder of", path) : 0;
    if (fd >= 0) close(fd);
    kw_free(folder);
    return rc;
}

/* Replaces the file at `path` by `data`; `like` gives mode and owner, NULL: a new file. */
static int save(const char *path, const struct stat *like, const char *data, size_t len, struct kw_config_error *err) {
    struct kw_config_text name = {0};
    kw_config_text_puts(&name, path);
    kw_config_text_puts(&name, ".XXXXXX");
    char *temporary = kw_config_text_take(&name);
    if (!temporary) return kw_config_fail_nomem(err);

    int rc = 0;
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        rc = fail(err, "create a file beside", path);
        goto err_after_name;
    }
    if (!write_all(fd, data, len)) {
        rc = fail(err, "write the new", path);
        goto err_after_create;
    }
    /* The owner first: changing it clears bits of the mode. Only root may; a file of another owner becomes ours. */
    bool foreign = like && fchown(fd, like->st_uid, like->st_gid) != 0 && errno != EPERM;
    if (foreign || (like && fchmod(fd, like->st_mode & 07777) != 0)) {
        rc = fail(err, "keep the mode of", path);
        goto err_after_create;
    }
    if (fsync(fd) != 0) {
        rc = fail(err, "sync the new", path);
        goto err_after_create;
    }
    int closed = close(fd);
    fd = -1;
    if (closed != 0 || rename(temporary, path) != 0) {
        rc = fail(err, "replace", path);
        goto err_after_create;
    }
    rc = sync_folder(path, err);
    goto err_after_name;

err_after_create:
    if (fd >= 0) close(fd);
    unlink(temporary);
err_after_name:
    kw_free(temporary);
    return rc;
}

/* The old file, "" when there is none yet (*exists false). *data own. */
static int read_old(const char *path, bool *exists, struct stat *like, char **data, size_t *len,
                    struct kw_config_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us up */
    *exists = fd >= 0;
    *len = 0;
    if (fd < 0 && errno == ENOENT) {
        struct kw_config_text empty = {0};
        *data = kw_config_text_take(&empty);
        return *data ? 0 : kw_config_fail_nomem(err);
    }
    if (fd < 0 || fstat(fd, like) != 0) {
        kw_config_fail(err, "can't open '%.200s': %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return KW_EIO;
    }
    int rc = KW_EINVALID;
    if (S_ISREG(like->st_mode)) {
        rc = kw_config_slurp(fd, path, data, len, err);
    } else {
        kw_config_fail(err, "'%.200s' is not a regular file: it can't be rewritten", path);
    }
    close(fd);
    return rc;
}

static int rewrite_file(struct kw_config *cfg, const char *path, struct kw_config_error *err) {
    bool exists;
    struct stat like;
    char *old, *text;
    size_t old_len, len;
    int rc = read_old(path, &exists, &like, &old, &old_len, err);
    if (rc) return rc;
    rc = kw_config_rewrite_text(cfg, path, old, old_len, &text, &len, err);
    explicit_bzero(old, old_len);
    kw_free(old);
    if (rc) return rc;
    rc = save(path, exists ? &like : NULL, text, len, err);
    explicit_bzero(text, len);
    kw_free(text);
    return rc;
}

int kw_config_rewrite(struct kw_config *cfg, const char *path, struct kw_config_error *err) {
    if (!path) path = cfg->path;
    if (!path) {
        kw_config_fail(err, "The server is running without a config file");
        return KW_EINVALID;
    }
    char *real = realpath(path, NULL); /* a symbolic link stays one: its target is replaced */
    int rc = rewrite_file(cfg, real ? real : path, err);
    free(real); /* the C library's own block */
    return rc;
}
