/*
 * A folder as text, a line for each file: two texts differ if anything in it was
 * written, made, renamed or removed in between, even if only for a moment.
 */
#ifndef KW_TESTS_UNIT_FOLDER_STATE_H
#define KW_TESTS_UNIT_FOLDER_STATE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32.h"
#include "base/str.h"

static uint32_t folder_file_sum(int fd) {
    static uint8_t block[65536];
    uint32_t sum = 0;
    for (ssize_t got; (got = read(fd, block, sizeof(block))) > 0;) sum = kw_crc32(sum, block, (size_t)got);
    return sum;
}

/* Replaces what `out` holds. The folder's own line (".") tells of names that came and went. */
static void folder_state(const char *folder, struct kw_str *out) {
    struct dirent **names = NULL;
    int count = scandir(folder, &names, NULL, alphasort);
    kw_str_clear(out);
    kw_str_append_text(out, "");
    for (int i = 0; i < count; i++) {
        char path[1024];
        struct stat facts = {0};
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
        int fd = names[i]->d_name[0] == '.' && names[i]->d_name[1] == '.' ? -1 : open(path, O_RDONLY);
        if (fd >= 0 && fstat(fd, &facts) == 0) {
            kw_str_printf(out, "%s: mode %o, node %llu, %lld bytes, sum %08x, written %lld.%09ld\n", names[i]->d_name,
                          (unsigned)facts.st_mode, (unsigned long long)facts.st_ino, (long long)facts.st_size,
                          S_ISREG(facts.st_mode) ? (unsigned)folder_file_sum(fd) : 0U, (long long)facts.st_mtim.tv_sec,
                          facts.st_mtim.tv_nsec);
        }
        if (fd >= 0) close(fd);
        free(names[i]);
    }
    free(names);
}

/* The folder is as it was; else the first line that is another is shown. */
static void folder_must_be(const char *folder, const struct kw_str *before) {
    struct kw_str now = {0};
    folder_state(folder, &now);
    size_t same = 0;
    while (same < before->len && same < now.len && before->data[same] == now.data[same]) same++;
    bool equal = same == before->len && same == now.len;
    while (same > 0 && before->data[same - 1] != '\n') same--;
    if (!equal) {
        print_error("was: %.*s\n", (int)strcspn(before->data + same, "\n"), before->data + same);
        print_error("is:  %.*s\n", (int)strcspn(now.data + same, "\n"), now.data + same);
    }
    kw_str_deinit(&now);
    assert_true(equal);
}

#endif
