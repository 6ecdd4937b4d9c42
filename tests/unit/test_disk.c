/*
 * The data folder of a metadata node: whose it is, that one process has it at a
 * time, the reserve, and the watchdog, which ends forked children here. The log
 * in it has a test of its own (test_disk_scan.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/crc32.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/disk.h"
#include "raft/store/disk_internal.h"
#include "raft/store/handshake.h"
#include "tests/unit/folder_state.h"

enum { PATH_SIZE = 512, TEXT_SIZE = 1024 };

static char base[PATH_SIZE / 2], dir[PATH_SIZE];
static char why[KW_DISK_WHY_SIZE];
static enum kw_disk_found found;

static const char *at(const char *name) {
    static char path[PATH_SIZE * 2];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void text_write(const char *name, const char *text) {
    FILE *file = fopen(at(name), "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void text_read(const char *name, char out[TEXT_SIZE]) {
    FILE *file = fopen(at(name), "r");
    assert_non_null(file);
    size_t len = fread(out, 1, TEXT_SIZE - 1, file);
    out[len] = '\0';
    fclose(file);
}

static struct kw_disk *open_as(uint64_t id, const char *cluster, int expected) {
    struct kw_disk *disk = NULL;
    why[0] = '\0';
    int code = kw_disk_open(&disk, dir, id, cluster, &found, why, sizeof(why));
    if (code != expected) print_error("%s\n", why);
    assert_int_equal(code, expected);
    assert_true(code == 0 ? disk != NULL : why[0] != '\0');
    return disk;
}

/* Refused with this in the text. */
static void refused(uint64_t id, const char *cluster, int code, const char *part) {
    open_as(id, cluster, code);
    if (!strstr(why, part)) print_error("%s\n", why);
    assert_non_null(strstr(why, part));
}

static void reopened(enum kw_disk_found expected) {
    kw_disk_close(open_as(7, "main", 0));
    assert_int_equal(found, expected);
}

static void folder_empty(void) {
    DIR *list = opendir(dir);
    for (const struct dirent *entry; list && (entry = readdir(list));) unlink(at(entry->d_name));
    if (list) closedir(list);
}

static int setup(void **state KW_UNUSED) {
    snprintf(dir, sizeof(dir), "%s/node", base);
    folder_empty();
    rmdir(dir);
    return 0;
}

static int setup_all(void **state KW_UNUSED) {
    const char *tmp = getenv("TMPDIR");
    snprintf(base, sizeof(base), "%s/keyway-node-XXXXXX", tmp ? tmp : "/tmp");
    kw_log_set_level(KW_LOG_WARNING);
    return mkdtemp(base) ? 0 : -1;
}

static int teardown_all(void **state) {
    setup(state);
    return rmdir(base);
}

/* ---- identity ---- */

static void test_new_folder(void **state KW_UNUSED) {
    struct stat facts;
    struct kw_disk *disk = open_as(7, "main", 0);
    assert_int_equal(found, KW_DISK_EMPTY);
    assert_int_equal(stat(dir, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0700);
    kw_disk_close(disk);
    reopened(KW_DISK_EMPTY); /* it never had an entry */
}

static void test_arguments(void **state KW_UNUSED) {
    char long_name[KW_DISK_CLUSTER_MAX + 2];
    assert_int_equal(KW_DISK_CLUSTER_MAX, KW_HANDSHAKE_CLUSTER_MAX); /* what one takes the other does not refuse */
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    refused(0, "main", KW_EINVALID, "id");
    refused(7, "", KW_EINVALID, "name");
    refused(7, "two\nlines", KW_EINVALID, "name");
    refused(7, long_name, KW_EINVALID, "name");
    long_name[KW_DISK_CLUSTER_MAX] = '\0';
    kw_disk_close(open_as(UINT64_MAX, long_name, 0));
    kw_disk_close(open_as(UINT64_MAX, long_name, 0));
    snprintf(dir, sizeof(dir), "%s/not/there", base);
    refused(7, "main", KW_EIO, "not/there");
}

static void test_other_owner(void **state KW_UNUSED) {
    kw_disk_close(open_as(7, "main", 0));
    refused(8, "main", KW_EINVALID, "belongs to node 7");
    refused(7, "other", KW_EINVALID, "belongs to the cluster \"main\"");
    reopened(KW_DISK_EMPTY);
}

static void test_retired(void **state KW_UNUSED) {
    struct kw_disk *disk = open_as(7, "main", 0);
    assert_int_equal(kw_disk_retire(disk), 0);
    assert_int_equal(kw_disk_retire(disk), 0);
    kw_disk_close(disk);
    refused(7, "main", KW_EINVALID, "removed from the cluster");
    assert_non_null(strstr(why, "keyway-cli meta add"));
}

static void test_folder_of_others(void **state KW_UNUSED) {
    assert_int_equal(mkdir(dir, 0700), 0);
    text_write("precious.db", "data");
    refused(7, "main", KW_EINVALID, "precious.db");
    assert_int_equal(access(at(KW_DISK_FILE_IDENTITY), F_OK), -1);
    unlink(at("precious.db"));
    /* What a start leaves that was cut off is no obstacle. */
    text_write(KW_DISK_FILE_IDENTITY_NEW, "keyway-me");
    reopened(KW_DISK_EMPTY);
    /* A log without identity is. */
    unlink(at(KW_DISK_FILE_IDENTITY));
    text_write("metadata1", "");
    refused(7, "main", KW_EINVALID, "metadata1");
}

static void test_identity_damage(void **state KW_UNUSED) {
    char text[TEXT_SIZE], damaged[TEXT_SIZE];
    kw_disk_close(open_as(7, "main", 0));
    text_read(KW_DISK_FILE_IDENTITY, text);
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        memcpy(damaged, text, len + 1);
        damaged[i] = (char)(damaged[i] ^ 1);
        text_write(KW_DISK_FILE_IDENTITY, damaged);
        struct kw_disk *disk = NULL;
        int code = kw_disk_open(&disk, dir, 7, "main", &found, why, sizeof(why));
        assert_true(code == KW_EPROTOCOL || code == KW_EINVALID);
        memcpy(damaged, text, i);
        damaged[i] = '\0';
        text_write(KW_DISK_FILE_IDENTITY, damaged);
        refused(7, "main", KW_EPROTOCOL, KW_DISK_FILE_IDENTITY);
    }
    snprintf(damaged, sizeof(damaged), "%sand more\n", text);
    text_write(KW_DISK_FILE_IDENTITY, damaged);
    refused(7, "main", KW_EPROTOCOL, KW_DISK_FILE_IDENTITY);
    snprintf(damaged, sizeof(damaged), "keyway-meta 2%s", text + strlen("keyway-meta 1"));
    text_write(KW_DISK_FILE_IDENTITY, damaged);
    refused(7, "main", KW_EINVALID, "format 2");
    text_write(KW_DISK_FILE_IDENTITY, text);
    reopened(KW_DISK_EMPTY);
}

/* ---- incarnations ---- */

static void test_incarnation(void **state KW_UNUSED) {
    struct kw_disk *disk = open_as(7, "main", 0);
    uint64_t first = kw_disk_incarnation(disk);
    assert_true(first != 0);
    assert_int_equal(kw_disk_retire(disk), 0);
    assert_true(kw_disk_incarnation(disk) == first);
    kw_disk_close(disk);
    refused(7, "main", KW_EINVALID, "removed from the cluster");
    folder_empty();
    disk = open_as(7, "main", 0);
    uint64_t second = kw_disk_incarnation(disk);
    assert_true(second != 0 && second != first); /* another folder, though the path is the same */
    kw_disk_append(disk, true);
    kw_disk_append(disk, false); /* the identity is written anew */
    kw_disk_close(disk);
    assert_int_equal(kw_disk_open(&disk, dir, 7, "main", &found, why, sizeof(why)), KW_EPROTOCOL); /* begun, no log */
    char text[TEXT_SIZE], line[64];
    text_read(KW_DISK_FILE_IDENTITY, text);
    snprintf(line, sizeof(line), "\nincarnation %016llx\n", (unsigned long long)second);
    assert_non_null(strstr(text, line));
}

static void test_peers_are_remembered(void **state KW_UNUSED) {
    struct kw_disk *disk = open_as(7, "main", 0);
    assert_int_equal(kw_disk_peer_check(disk, 2, 22), KW_EUNKNOWN);
    assert_int_equal(access(at(KW_DISK_FILE_PEERS), F_OK), -1); /* a look notes nothing */
    for (unsigned starts = 0; starts < 3; starts++) {
        assert_int_equal(kw_disk_peer_note(disk, 2, 22), 0);
        assert_int_equal(kw_disk_peer_note(disk, 2, 23), KW_EINVALID);
        assert_int_equal(kw_disk_peer_note(disk, UINT64_MAX, UINT64_MAX), 0);
        assert_int_equal(kw_disk_peer_check(disk, 2, 22), 0);
        assert_int_equal(kw_disk_peer_check(disk, 2, 23), KW_EINVALID);
        assert_int_equal(kw_disk_peer_check(disk, 3, 22), KW_EUNKNOWN);
        kw_disk_close(disk);
        disk = open_as(7, "main", 0);
        assert_int_equal(kw_disk_peer_check(disk, 2, 23), KW_EINVALID); /* before it is noted again */
        assert_int_equal(kw_disk_peer_check(disk, UINT64_MAX, UINT64_MAX), 0);
    }
    kw_disk_close(disk);
}

/* Only what is on the disk is known. */
static void test_peers_that_cannot_be_written(void **state KW_UNUSED) {
    struct kw_disk *disk = open_as(7, "main", 0);
    assert_int_equal(mkdir(at(KW_DISK_FILE_PEERS_NEW), 0700), 0);
    assert_int_equal(kw_disk_peer_note(disk, 2, 22), KW_EIO);
    assert_int_equal(kw_disk_peer_check(disk, 2, 22), KW_EUNKNOWN);
    assert_int_equal(rmdir(at(KW_DISK_FILE_PEERS_NEW)), 0);
    assert_int_equal(kw_disk_peer_note(disk, 2, 22), 0);
    kw_disk_close(disk);
}

static void test_peers_are_bounded(void **state KW_UNUSED) {
    struct kw_disk *disk = open_as(7, "main", 0);
    for (uint64_t id = 1; id <= KW_DISK_KNOWN_PEERS_MAX; id++) {
        assert_int_equal(kw_disk_peer_note(disk, UINT64_MAX - id, UINT64_MAX - id), 0);
    }
    assert_int_equal(kw_disk_peer_note(disk, 1, 1), KW_ELIMIT);
    kw_disk_close(disk);
    disk = open_as(7, "main", 0);
    for (uint64_t id = 1; id <= KW_DISK_KNOWN_PEERS_MAX; id++) {
        assert_int_equal(kw_disk_peer_check(disk, UINT64_MAX - id, UINT64_MAX - id), 0);
    }
    assert_int_equal(kw_disk_peer_note(disk, UINT64_MAX - 1, UINT64_MAX - 1), 0);
    assert_int_equal(kw_disk_peer_note(disk, 1, 1), KW_ELIMIT);
    kw_disk_close(disk);
}

static void test_peers_damage(void **state KW_UNUSED) {
    char text[TEXT_SIZE], damaged[TEXT_SIZE];
    struct kw_disk *disk = open_as(7, "main", 0);
    for (uint64_t id = 1; id <= 3; id++) assert_int_equal(kw_disk_peer_note(disk, id, id * 1000), 0);
    kw_disk_close(disk);
    text_read(KW_DISK_FILE_PEERS, text);
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        memcpy(damaged, text, len + 1);
        damaged[i] = (char)(damaged[i] ^ 1);
        text_write(KW_DISK_FILE_PEERS, damaged);
        refused(7, "main", KW_EPROTOCOL, KW_DISK_FILE_PEERS);
        damaged[i] = '\0';
        text_write(KW_DISK_FILE_PEERS, damaged);
        refused(7, "main", KW_EPROTOCOL, KW_DISK_FILE_PEERS);
    }
    text_write(KW_DISK_FILE_PEERS, text);
    reopened(KW_DISK_EMPTY);
}

/* From its first entry on, a node whose log is gone has been wiped and must not vote again. */
static void test_wiped(void **state KW_UNUSED) {
    struct kw_disk *disk = open_as(7, "main", 0);
    kw_disk_append(disk, true);
    kw_disk_append(disk, false);
    kw_disk_close(disk);
    refused(7, "main", KW_EPROTOCOL, "are gone");
}

static const char first_term[32] = {1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1};

static void metadata_write(const char *name, const char content[32], char version, char vote) {
    char bytes[32];
    memcpy(bytes, content, sizeof(bytes));
    bytes[8] = version;
    bytes[24] = vote;
    FILE *file = fopen(at(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, sizeof(bytes), file), sizeof(bytes));
    fclose(file);
}

/* libraft begins a log with a term and then an entry. Between the two the node is still a new one. */
static void test_first_start_cut_off(void **state KW_UNUSED) {
    kw_disk_close(open_as(7, "main", 0));
    metadata_write("metadata1", first_term, 1, 0);
    reopened(KW_DISK_EMPTY);
    assert_int_equal(access(at("metadata1"), F_OK), -1); /* libraft would not begin otherwise */
    metadata_write("metadata1", first_term, 1, 0);
    metadata_write("metadata2", first_term, 2, 3);
    reopened(KW_DISK_OURS); /* it has voted: waits to be added, remembers */
    assert_int_equal(access(at("metadata1"), F_OK), 0);
}

/* ---- looking without touching ---- */

/* As `keyway-meta --check-dir` does; the folder stays as it was. */
static void looked_at(uint64_t id, int code, const char *part) {
    struct kw_str before = {0};
    folder_state(dir, &before);
    why[0] = '\0';
    found = KW_DISK_OURS;
    int got = kw_disk_look(dir, id, "main", &found, why, sizeof(why));
    if (got != code) print_error("%s\n", why);
    assert_int_equal(got, code);
    if (part && !strstr(why, part)) fail_msg("'%s' lacks '%s'", why, part);
    folder_must_be(dir, &before);
    kw_str_deinit(&before);
}

static void test_look_at_a_first_term(void **state KW_UNUSED) {
    kw_disk_close(open_as(7, "main", 0));
    looked_at(7, 0, NULL);
    assert_int_equal(found, KW_DISK_EMPTY);
    metadata_write("metadata1", first_term, 1, 0);
    looked_at(7, 0, NULL);
    assert_int_equal(found, KW_DISK_EMPTY);
    assert_int_equal(access(at("metadata1"), F_OK), 0);
    reopened(KW_DISK_EMPTY); /* a start removes it, as before */
    assert_int_equal(access(at("metadata1"), F_OK), -1);
}

static void test_look_without_a_lock_file(void **state KW_UNUSED) {
    kw_disk_close(open_as(7, "main", 0));
    assert_int_equal(unlink(at(KW_DISK_FILE_LOCK)), 0);
    looked_at(7, 0, NULL);
    assert_int_equal(found, KW_DISK_EMPTY);
    assert_int_equal(access(at(KW_DISK_FILE_LOCK), F_OK), -1);
}

static void test_look_refuses(void **state KW_UNUSED) {
    looked_at(7, KW_EIO, "cannot open the data folder");
    assert_int_equal(access(dir, F_OK), -1); /* it is not made */
    assert_int_equal(mkdir(dir, 0700), 0);
    looked_at(7, KW_EINVALID, KW_DISK_FILE_IDENTITY);
    struct kw_disk *disk = open_as(7, "main", 0);
    looked_at(7, KW_ELIMIT, "is in use");
    assert_int_equal(kw_disk_peer_note(disk, 2, 22), 0);
    assert_int_equal(kw_disk_retire(disk), 0);
    kw_disk_close(disk);
    looked_at(7, KW_EINVALID, "removed from the cluster");
    text_write(KW_DISK_FILE_IDENTITY, "keyway-meta 1\n");
    looked_at(7, KW_EPROTOCOL, KW_DISK_FILE_IDENTITY);
    folder_empty();
    kw_disk_close(open_as(8, "main", 0));
    looked_at(7, KW_EINVALID, "belongs to node 8");
    disk = open_as(8, "main", 0);
    kw_disk_append(disk, true);
    kw_disk_append(disk, false);
    kw_disk_close(disk);
    looked_at(8, KW_EPROTOCOL, "are gone");
}

/* The look holds the lock no longer than it takes. */
static void test_look_leaves_nothing_open(void **state KW_UNUSED) {
    kw_disk_close(open_as(7, "main", 0));
    for (unsigned i = 0; i < 2000; i++) { /* more than a process may have open */
        assert_int_equal(kw_disk_look(dir, 7, "main", &found, why, sizeof(why)), 0);
    }
    reopened(KW_DISK_EMPTY);
}

/* ---- lock ---- */

static void test_lock(void **state KW_UNUSED) {
    char pid[32];
    struct kw_disk *disk = open_as(7, "main", 0);
    snprintf(pid, sizeof(pid), "process %ld:", (long)getpid());
    refused(7, "main", KW_ELIMIT, pid);
    kw_disk_close(disk);
    reopened(KW_DISK_EMPTY);
}

/* ---- reserve ---- */

/* Runs in a child, which ends with 0 if nothing else ends it. */
static pid_t child_begin(void (*run)(struct kw_disk *disk), struct kw_disk *disk) {
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    kw_log_open(at("log"), KW_LOG_WARNING);
    run(disk);
    _exit(0);
}

static int child_end(pid_t pid) {
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_reserve(void **state KW_UNUSED) {
    struct stat facts;
    struct kw_disk *disk = open_as(7, "main", 0);
    assert_false(kw_disk_reserve_drop(disk));
    assert_int_equal(kw_disk_reserve_make(disk), 0);
    assert_int_equal(kw_disk_reserve_make(disk), 0);
    assert_int_equal(stat(at(KW_DISK_FILE_RESERVE), &facts), 0);
    assert_int_equal(facts.st_size, KW_DISK_RESERVE_BYTES);
    assert_true(facts.st_blocks * 512 >= KW_DISK_RESERVE_BYTES); /* blocks, not a promise */
    assert_true(kw_disk_free_bytes(disk) > 0);
    assert_true(kw_disk_reserve_drop(disk));
    assert_false(kw_disk_reserve_drop(disk));
    assert_int_equal(access(at(KW_DISK_FILE_RESERVE), F_OK), -1);
    assert_int_equal(kw_disk_reserve_make(disk), 0);
    kw_disk_close(disk);
    reopened(KW_DISK_EMPTY);
}

/* No room, and nothing is left of it. A limit on the size of files stands in for a full disk, in a child. */
static void run_without_room(struct kw_disk *disk) {
    const struct rlimit limit = {KW_DISK_RESERVE_BYTES / 2, KW_DISK_RESERVE_BYTES / 2};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(1);
    if (kw_disk_reserve_make(disk) != KW_EIO || errno != EFBIG) _exit(2);
    if (access(at(KW_DISK_FILE_RESERVE), F_OK) == 0) _exit(3);
}

static void test_reserve_without_room(void **state KW_UNUSED) {
    struct kw_disk *disk = open_as(7, "main", 0);
    assert_int_equal(child_end(child_begin(run_without_room, disk)), 0);
    kw_disk_close(disk);
}

/* ---- watchdog ---- */

static void nap_ms(unsigned ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};
    nanosleep(&time, NULL);
}

/* The longer one is for those that must not be ended because the machine kept them from their work for a while. */
enum { LIMIT_MS = 800, BUSY_LIMIT_MS = 2000 };

static void run_stalled(struct kw_disk *disk) {
    kw_disk_watch_append(&disk->watch, true);
    kw_disk_watch_append(&disk->watch, true);
    if (kw_disk_watch(disk, LIMIT_MS) != 0) _exit(1);
    kw_disk_watch_append(&disk->watch, false); /* the older one; the other stays */
    for (;;) pause();
}

static void test_watchdog_ends_the_process(void **state KW_UNUSED) {
    char log[TEXT_SIZE];
    struct kw_disk *disk = open_as(7, "main", 0);
    uint64_t begin_ms = kw_clock_ms();
    int status = child_end(child_begin(run_stalled, disk));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 70);
    assert_true(kw_clock_ms() - begin_ms >= LIMIT_MS);
    text_read("log", log);
    assert_non_null(strstr(log, "the disk stands still"));
    assert_ptr_equal(strchr(log, '\n') + 1, log + strlen(log)); /* one line */
    kw_disk_close(disk);
}

/* Appends overlap all the time, more of them than the ring holds at first, none for longer than the limit. */
static void run_busy(struct kw_disk *disk) {
    if (kw_disk_watch(disk, BUSY_LIMIT_MS) != 0) _exit(1);
    for (unsigned i = 0; i < 40; i++) kw_disk_watch_append(&disk->watch, true);
    uint64_t until_ms = kw_clock_ms() + 3U * BUSY_LIMIT_MS / 2;
    while (kw_clock_ms() < until_ms) {
        for (unsigned i = 0; i < 20; i++) kw_disk_watch_append(&disk->watch, false);
        for (unsigned i = 0; i < 20; i++) kw_disk_watch_append(&disk->watch, true);
        nap_ms(20);
    }
    for (unsigned i = 0; i < 40; i++) kw_disk_watch_append(&disk->watch, false);
    nap_ms(3U * BUSY_LIMIT_MS / 2); /* nothing is under way */
    kw_disk_close(disk);
}

static void test_watchdog_leaves_the_busy_alone(void **state KW_UNUSED) {
    struct kw_disk *disk = open_as(7, "main", 0);
    assert_int_equal(child_end(child_begin(run_busy, disk)), 0);
    kw_disk_close(disk);
}

static int to_parent[2], to_child[2];

/* Starts an append, is stopped for longer than the limit, continued, and ends the append once the parent says so. */
static void run_stopped(struct kw_disk *disk) {
    char byte = 'x';
    if (kw_disk_watch(disk, BUSY_LIMIT_MS) != 0) _exit(1);
    kw_disk_watch_append(&disk->watch, true);
    if (write(to_parent[1], &byte, 1) != 1 || read(to_child[0], &byte, 1) != 1) _exit(2);
    kw_disk_watch_append(&disk->watch, false);
    nap_ms(BUSY_LIMIT_MS / 2); /* two looks more */
    kw_disk_close(disk);
}

static void test_watchdog_knows_a_stopped_process(void **state KW_UNUSED) {
    char byte = 'x';
    int status = 0;
    struct kw_disk *disk = open_as(7, "main", 0);
    assert_int_equal(pipe(to_parent), 0);
    assert_int_equal(pipe(to_child), 0);
    pid_t pid = child_begin(run_stopped, disk);
    assert_int_equal(read(to_parent[0], &byte, 1), 1);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    nap_ms(3U * BUSY_LIMIT_MS / 2); /* the stop itself is what is tried */
    assert_int_equal(kill(pid, SIGCONT), 0);
    nap_ms(BUSY_LIMIT_MS / 3); /* the watchdog runs before the append is over */
    assert_int_equal(write(to_child[1], &byte, 1), 1);
    assert_int_equal(child_end(pid), 0);
    for (unsigned i = 0; i < 2; i++) {
        close(to_parent[i]);
        close(to_child[i]);
    }
    kw_disk_close(disk);
}

/* After a stop it still watches. */
static void run_stopped_then_stalled(struct kw_disk *disk) {
    char byte = 'x';
    if (kw_disk_watch(disk, LIMIT_MS) != 0) _exit(1);
    kw_disk_watch_append(&disk->watch, true);
    if (write(to_parent[1], &byte, 1) != 1) _exit(2);
    for (;;) pause();
}

static void test_watchdog_goes_on_after_a_stop(void **state KW_UNUSED) {
    char byte;
    int status = 0;
    struct kw_disk *disk = open_as(7, "main", 0);
    assert_int_equal(pipe(to_parent), 0);
    pid_t pid = child_begin(run_stopped_then_stalled, disk);
    assert_int_equal(read(to_parent[0], &byte, 1), 1);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_int_equal(kill(pid, SIGCONT), 0);
    status = child_end(pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 70);
    close(to_parent[0]);
    close(to_parent[1]);
    kw_disk_close(disk);
}

/* ---- the checksum ---- */

static void test_crc32(void **state KW_UNUSED) {
    static const char text[] = "123456789";
    unsigned char bytes[67];
    /* CRC-32/MPEG-2 of the check text, which begins with all ones; ours begins with zero. */
    assert_int_equal(kw_crc32(0xffffffffU, text, 9), 0x0376e6e7U);
    assert_int_equal(kw_crc32(0, text, 9), 0x89a1897fU);
    for (size_t i = 0; i < sizeof(bytes); i++) bytes[i] = (unsigned char)(i * 37 + 11);
    uint32_t whole = kw_crc32(0, bytes, sizeof(bytes));
    for (size_t cut = 0; cut <= sizeof(bytes); cut++) {
        assert_int_equal(kw_crc32(kw_crc32(0, bytes, cut), bytes + cut, sizeof(bytes) - cut), whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_new_folder, setup),
        cmocka_unit_test_setup(test_arguments, setup),
        cmocka_unit_test_setup(test_other_owner, setup),
        cmocka_unit_test_setup(test_retired, setup),
        cmocka_unit_test_setup(test_folder_of_others, setup),
        cmocka_unit_test_setup(test_identity_damage, setup),
        cmocka_unit_test_setup(test_incarnation, setup),
        cmocka_unit_test_setup(test_peers_are_remembered, setup),
        cmocka_unit_test_setup(test_peers_that_cannot_be_written, setup),
        cmocka_unit_test_setup(test_peers_are_bounded, setup),
        cmocka_unit_test_setup(test_peers_damage, setup),
        cmocka_unit_test_setup(test_wiped, setup),
        cmocka_unit_test_setup(test_first_start_cut_off, setup),
        cmocka_unit_test_setup(test_look_at_a_first_term, setup),
        cmocka_unit_test_setup(test_look_without_a_lock_file, setup),
        cmocka_unit_test_setup(test_look_refuses, setup),
        cmocka_unit_test_setup(test_look_leaves_nothing_open, setup),
        cmocka_unit_test_setup(test_lock, setup),
        cmocka_unit_test_setup(test_reserve, setup),
        cmocka_unit_test_setup(test_reserve_without_room, setup),
        cmocka_unit_test_setup(test_watchdog_ends_the_process, setup),
        cmocka_unit_test_setup(test_watchdog_leaves_the_busy_alone, setup),
        cmocka_unit_test_setup(test_watchdog_knows_a_stopped_process, setup),
        cmocka_unit_test_setup(test_watchdog_goes_on_after_a_stop, setup),
        cmocka_unit_test(test_crc32),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
