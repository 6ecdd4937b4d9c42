/*
 * The scan of a metadata node's log, on folders that libraft itself has
 * written: what may be damaged and is refused, what a crash leaves and is
 * accepted, and that libraft then loads from an accepted folder exactly the
 * entries that the scan has counted. libraft runs in forked children: an end
 * there is a crash, as it is for a node.
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
#include <fcntl.h>
#include <raft.h>
#include <raft/uv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/base.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/disk_internal.h"
#include "tests/unit/folder_state.h"

enum { PATH_SIZE = 512, SEGMENT = 8 * 1024 * 1024, MEBIBYTE = 1024 * 1024, SECTOR = 512, ID = 7 };

static char base[PATH_SIZE / 2]; /* all folders of this run */
static char dir[PATH_SIZE];      /* the one that a test damages */
static char why[KW_DISK_WHY_SIZE];
static struct kw_disk_log found;

/* ---- files ---- */

static const char *at(const char *folder, const char *name) {
    static char path[PATH_SIZE * 2];
    int len = snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_in_range(len, 1, sizeof(path) - 1);
    return path;
}

static void folder_remove(const char *folder) {
    DIR *list = opendir(folder);
    for (const struct dirent *entry; list && (entry = readdir(list));) unlink(at(folder, entry->d_name));
    if (list) closedir(list);
    rmdir(folder);
}

static size_t file_size(const char *name) {
    struct stat facts;
    assert_int_equal(stat(at(dir, name), &facts), 0);
    return (size_t)facts.st_size;
}

static bool file_exists(const char *name) {
    return access(at(dir, name), F_OK) == 0;
}

/* What was never written stays so, as in a prepared segment. */
static void file_copy(const char *from, const char *to) {
    static uint8_t block[65536];
    struct stat facts = {0};
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0 || fstat(in, &facts) != 0) fail_msg("cannot copy %s to %s", from, to);
    for (off_t place = 0; (place = lseek(in, place, SEEK_DATA)) >= 0;) {
        ssize_t got = pread(in, block, sizeof(block), place);
        assert_true(got > 0 && pwrite(out, block, (size_t)got, place) == got);
        place += got;
    }
    assert_int_equal(ftruncate(out, facts.st_size), 0);
    close(in);
    close(out);
}

/* One file of a folder into the one under test. */
static void file_take(const char *folder, const char *name, const char *as) {
    char source[PATH_SIZE * 2];
    snprintf(source, sizeof(source), "%s", at(folder, name));
    file_copy(source, at(dir, as));
}

static void folder_copy(const char *from, const char *to) {
    char source[PATH_SIZE * 2];
    folder_remove(to);
    assert_int_equal(mkdir(to, 0700), 0);
    DIR *list = opendir(from);
    assert_non_null(list);
    for (const struct dirent *entry; (entry = readdir(list));) {
        if (entry->d_name[0] == '.') continue;
        snprintf(source, sizeof(source), "%s/%s", from, entry->d_name);
        file_copy(source, at(to, entry->d_name));
    }
    closedir(list);
}

static void file_write(const char *name, size_t offset, const void *bytes, size_t len) {
    int fd = open(at(dir, name), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, (off_t)offset), len);
    close(fd);
}

static void file_read(const char *name, size_t offset, void *bytes, size_t len) {
    int fd = open(at(dir, name), O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, len, (off_t)offset), len);
    close(fd);
}

static void file_flip(const char *name, size_t offset, unsigned bit) {
    uint8_t byte;
    file_read(name, offset, &byte, 1);
    byte ^= (uint8_t)(1U << bit);
    file_write(name, offset, &byte, 1);
}

static void file_zero(const char *name, size_t offset, size_t len) {
    uint8_t *zeros = calloc(1, len);
    assert_non_null(zeros);
    file_write(name, offset, zeros, len);
    free(zeros);
}

static void file_cut(const char *name, size_t len) {
    assert_int_equal(truncate(at(dir, name), (off_t)len), 0);
}

static void file_remove(const char *name) {
    assert_int_equal(unlink(at(dir, name)), 0);
}

static void file_rename(const char *from, const char *to) {
    char source[PATH_SIZE * 2];
    snprintf(source, sizeof(source), "%s", at(dir, from));
    assert_int_equal(rename(source, at(dir, to)), 0);
}

/* The only file of which the name begins so and ends so. */
static const char *file_find(const char *prefix, const char *suffix) {
    static char name[2][256];
    static unsigned turn;
    char *result = name[turn++ % 2];
    DIR *list = opendir(dir);
    unsigned count = 0;
    for (const struct dirent *entry; (entry = readdir(list));) {
        size_t len = strlen(entry->d_name), tail = strlen(suffix);
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || len < tail) continue;
        if (strcmp(entry->d_name + len - tail, suffix) != 0) continue;
        if (tail == 0 && strstr(entry->d_name, ".meta")) continue;
        snprintf(result, sizeof(name[0]), "%s", entry->d_name);
        count++;
    }
    closedir(list);
    assert_int_equal(count, 1);
    return result;
}

/* ---- libraft in a child ---- */

struct loaded {
    int code;
    uint64_t term, vote, snapshot, start, count;
    uint64_t strange; /* entries that are not what was appended under their index */
};

static uv_loop_t loop;
static struct raft_io io;
static struct raft_uv_transport transport;
static unsigned done;
static struct loaded *result; /* shared with the child */
static uint64_t next_index;

static int transport_init(struct raft_uv_transport *t KW_UNUSED, raft_id id KW_UNUSED, const char *a KW_UNUSED) {
    return 0;
}
static int transport_listen(struct raft_uv_transport *t KW_UNUSED, raft_uv_accept_cb cb KW_UNUSED) {
    return 0;
}
static int transport_connect(struct raft_uv_transport *t KW_UNUSED, struct raft_uv_connect *req KW_UNUSED,
                             raft_id id KW_UNUSED, const char *a KW_UNUSED, raft_uv_connect_cb cb KW_UNUSED) {
    return RAFT_NOCONNECTION;
}
static void transport_close(struct raft_uv_transport *t, raft_uv_transport_close_cb cb) {
    cb(t);
}
static void on_tick(struct raft_io *r KW_UNUSED) {
}
static void on_receive(struct raft_io *r KW_UNUSED, struct raft_message *message KW_UNUSED) {
}
static void on_append(struct raft_io_append *req KW_UNUSED, int status) {
    if (status != 0) _exit(3);
    done++;
}
static void on_snapshot(struct raft_io_snapshot_put *req KW_UNUSED, int status) {
    if (status != 0) _exit(4);
    done++;
}

static void wait_done(void) {
    while (done == 0) uv_run(&loop, UV_RUN_ONCE);
    done = 0;
}

/* Byte `i` of the entry with this index; never zero, so that a missing sector can be told. */
static uint8_t pattern(uint64_t index, size_t i) {
    return (uint8_t)(1 + (index * 131 + i * 7 + (i >> 8) * 13) % 255);
}

static void configuration(struct raft_configuration *out) {
    raft_configuration_init(out);
    if (raft_configuration_add(out, ID, "node", RAFT_VOTER) != 0) _exit(5);
}

static void do_append(uint64_t term, size_t size, unsigned count) {
    struct raft_io_append req;
    struct raft_entry *entries = calloc(count, sizeof(*entries));
    for (unsigned e = 0; e < count; e++) {
        uint8_t *data = raft_malloc(size);
        for (size_t i = 0; i < size; i++) data[i] = pattern(next_index + e, i);
        entries[e].term = term;
        entries[e].type = RAFT_COMMAND;
        entries[e].buf.base = data;
        entries[e].buf.len = size;
    }
    next_index += count;
    if (io.append(&io, &req, entries, count, on_append) != 0) _exit(6);
    wait_done();
}

static void do_snapshot(uint64_t term, uint64_t index, unsigned trailing) {
    struct raft_io_snapshot_put req;
    struct raft_snapshot snapshot = {.index = index, .term = term, .configuration_index = 1, .n_bufs = 1};
    struct raft_buffer image = {.base = raft_malloc(4096), .len = 4096};
    memset(image.base, (int)('A' + index % 20), image.len);
    configuration(&snapshot.configuration);
    snapshot.bufs = &image;
    if (io.snapshot_put(&io, trailing, &req, &snapshot, on_snapshot) != 0) _exit(7);
    wait_done();
    if (trailing == 0) next_index = index + 1;
}

static void do_truncate(uint64_t index) {
    if (io.truncate(&io, index) != 0) _exit(8);
    next_index = index;
}

/*
 * Steps: "b" begins the log; "t2" term, "e2" the same for entries only, "v1" vote; "a3x64" appends 3 entries of 64
 * bytes in one batch; "s9" takes a snapshot, "i9" installs one; "r9" removes the log's end from 9 on. Entries are of
 * the latest term.
 */
static void run_steps(const char *steps) {
    uint64_t term = result->term;
    for (const char *step = steps; *step; step += strcspn(step, " "), step += strspn(step, " ")) {
        uint64_t number = strtoull(step + 1, NULL, 10);
        const char *times = strpbrk(step, "x ");
        switch (*step) {
        case 't':
            term = number;
            if (io.set_term(&io, term) != 0) _exit(9);
            break;
        case 'e': term = number; break;
        case 'v':
            if (io.set_vote(&io, number) != 0) _exit(9);
            break;
        case 'a': do_append(term, strtoul(times + 1, NULL, 10), (unsigned)number); break;
        case 's': do_snapshot(term, number, 100000); break;
        case 'i': do_snapshot(term, number, 0); break;
        case 'r': do_truncate(number); break;
        default: _exit(10);
        }
    }
}

static void note_entries(const struct raft_entry *entries, size_t count) {
    for (size_t e = 0; e < count; e++) {
        const uint8_t *data = entries[e].buf.base;
        bool same = true;
        for (size_t i = 0; same && i < entries[e].buf.len; i++) same = data[i] == pattern(result->start + e, i);
        if (!same && entries[e].type == RAFT_COMMAND) result->strange++;
    }
}

static void child(const char *folder, const char *steps) {
    struct raft_snapshot *snapshot;
    struct raft_entry *entries;
    raft_term term;
    raft_id vote;
    raft_index start;
    size_t count;
    uv_loop_init(&loop);
    transport = (struct raft_uv_transport){.version = 1,
                                           .init = transport_init,
                                           .listen = transport_listen,
                                           .connect = transport_connect,
                                           .close = transport_close};
    if (raft_uv_init(&io, &loop, folder, &transport) != 0) _exit(1);
    raft_uv_set_segment_size(&io, SEGMENT);
    raft_uv_set_auto_recovery(&io, false);
    result->code = io.init(&io, ID, "node");
    if (result->code == 0 && steps && *steps == 'b') {
        struct raft_configuration first;
        configuration(&first);
        result->code = io.bootstrap(&io, &first);
        steps = NULL;
    }
    if (result->code == 0) result->code = io.load(&io, &term, &vote, &snapshot, &start, &entries, &count);
    if (result->code != 0) _exit(0);
    result->term = term;
    result->vote = vote;
    result->start = start;
    result->count = count;
    result->snapshot = snapshot ? snapshot->index : 0;
    note_entries(entries, count);
    next_index = start + count;
    if (steps && io.start(&io, 1000, on_tick, on_receive) != 0) _exit(2);
    if (steps) run_steps(steps);
    _exit(0);
}

/* True: libraft opened the folder and did the steps. What it had loaded is in *result. */
static bool raft_does(const char *folder, const char *steps) {
    memset(result, 0, sizeof(*result));
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) child(folder, steps);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0 || result->code != 0) {
        print_message("libraft, \"%s\": status %d, code %d\n", steps ? steps : "load", status, result->code);
    }
    return status == 0 && result->code == 0;
}

/* ---- folders, made once ---- */

/* Closed 1-1, 2-5, 6-9 and 10-11; open-1 holds 12 to 15 (the last batch spans several sectors); no snapshot. */
static char segments[PATH_SIZE];
/* The same, then snapshots at 8 and 17 and entries up to 19. */
static char snapshots[PATH_SIZE];
/* A snapshot at 40 was installed over 1-9; entries 41 to 43 behind it. */
static char installed[PATH_SIZE];

static void make(char out[PATH_SIZE], const char *name, const char *const steps[]) {
    snprintf(out, PATH_SIZE, "%s/%s", base, name);
    assert_int_equal(mkdir(out, 0700), 0);
    for (unsigned i = 0; steps[i]; i++) assert_true(raft_does(out, steps[i]));
}

static int setup_all(void **state KW_UNUSED) {
    const char *tmp = getenv("TMPDIR");
    snprintf(base, sizeof(base), "%s/keyway-disk-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof(dir), "%s/test", base);
    result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(result != MAP_FAILED);
    kw_log_set_level(KW_LOG_WARNING);
#define SEGMENTS "b", "t2 v7 a3x64 a1x1000", "t3 v7 a1x4096 a3x200", "a2x8", "a1x64 a2x2000 a1x9000"
    make(segments, "segments", (const char *const[]){SEGMENTS, NULL});
    make(snapshots, "snapshots", (const char *const[]){SEGMENTS, "s8 a2x104 s17 a2x3000", NULL});
    make(installed, "installed", (const char *const[]){"b", "t2 v7 a8x64", "t3 i40 a3x104", NULL});
    return 0;
}

static int teardown_all(void **state KW_UNUSED) {
    folder_remove(dir);
    folder_remove(segments);
    folder_remove(snapshots);
    folder_remove(installed);
    rmdir(base);
    return 0;
}

/* ---- verdicts ---- */

static int scan(void) {
    const struct kw_disk_why refusal = {.text = why, .size = sizeof(why), .dir = dir, .id = ID};
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    why[0] = '\0';
    int code = kw_disk_scan(fd, &found, &refusal);
    close(fd);
    return code;
}

/* Refused, and the text says which file, where, and what to do. */
static void refused(const char *file) {
    int code = scan();
    if (code != KW_EPROTOCOL || !strstr(why, file)) print_error("code %d: %s\n", code, why);
    assert_int_equal(code, KW_EPROTOCOL);
    assert_non_null(strstr(why, file));
    assert_non_null(strstr(why, ", byte "));
    assert_non_null(strstr(why, "keyway-cli meta remove 7"));
}

/* Accepted, and libraft loads just what was counted, up to this entry. */
static void accepted(uint64_t last) {
    int code = scan();
    if (code != 0) print_error("%s\n", why);
    assert_int_equal(code, 0);
    assert_int_equal(found.last, last);
    assert_true(raft_does(dir, NULL));
    assert_int_equal(result->start + result->count - 1, found.last);
    assert_int_equal(result->start, found.first);
    assert_int_equal(result->snapshot, found.snapshot_index);
    assert_int_equal(result->term, found.term);
    assert_int_equal(result->strange, 0);
}

#define CLOSED_1  "0000000000000001-0000000000000001"
#define CLOSED_2  "0000000000000002-0000000000000005"
#define CLOSED_6  "0000000000000006-0000000000000009"
#define CLOSED_10 "0000000000000010-0000000000000011"
#define CLOSED_12 "0000000000000012-0000000000000015" /* once open-1 is closed */

/* Where the batches of open-1 in `segments` are: 12; 13 and 14; 15. */
enum {
    OPEN_1 = 8,
    OPEN_2 = OPEN_1 + 8 + 8 + 16 + 64,
    OPEN_3 = OPEN_2 + 8 + 8 + 32 + 4000,
    OPEN_END = OPEN_3 + 8 + 8 + 16 + 9000,
};

static void test_untouched(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    accepted(15);
    assert_int_equal(found.first, 1);
    folder_copy(snapshots, dir);
    accepted(19);
    assert_int_equal(found.snapshot_index, 17);
    folder_copy(installed, dir);
    accepted(43);
    assert_int_equal(found.first, 41);
}

static void test_empty_folder(void **state KW_UNUSED) {
    folder_remove(dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(scan(), 0);
    assert_false(found.has_log || found.has_metadata);
}

/* ---- closed segments ---- */

static void test_closed_flips(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    for (size_t place = 0; place < file_size(CLOSED_2); place += 5) {
        unsigned bit = (unsigned)(place % 8);
        file_flip(CLOSED_2, place, bit);
        refused(CLOSED_2);
        file_flip(CLOSED_2, place, bit);
    }
    accepted(15);
}

static void test_closed_lengths(void **state KW_UNUSED) {
    size_t size;
    folder_copy(segments, dir);
    size = file_size(CLOSED_6);
    for (size_t less = 1; less < size; less += 101) {
        folder_copy(segments, dir);
        file_cut(CLOSED_6, size - less);
        refused(CLOSED_6);
    }
    folder_copy(segments, dir);
    file_cut(CLOSED_6, 0);
    refused(CLOSED_6);
    folder_copy(segments, dir);
    file_cut(CLOSED_6, size + 4096); /* zeros */
    refused(CLOSED_6);
    folder_copy(segments, dir);
    file_write(CLOSED_6, size, "more than was written", 21);
    refused(CLOSED_6);
    folder_copy(segments, dir);
    file_cut(CLOSED_6, 32U * MEBIBYTE);
    refused(CLOSED_6);
}

static void test_closed_zeroed_sector(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    file_zero(CLOSED_6, 1024, SECTOR);
    refused(CLOSED_6);
}

static void test_closed_missing(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    file_remove(CLOSED_6);
    refused(CLOSED_10);
    assert_non_null(strstr(why, "from 6 to 9"));
    folder_copy(segments, dir);
    file_remove(CLOSED_1);
    refused(CLOSED_2);
}

static void test_closed_names(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    file_rename(CLOSED_10, "0000000000000010-0000000000000012");
    refused("0000000000000010-0000000000000012");
    folder_copy(segments, dir);
    file_rename(CLOSED_10, "10-11");
    refused("10-11");
    folder_copy(segments, dir);
    file_take(segments, CLOSED_6, "0000000000000008-0000000000000011");
    refused("0000000000000008-0000000000000011");
    /* Files of others do not matter. */
    folder_copy(segments, dir);
    file_write("notes.txt", 0, "hello", 5);
    file_write("2024-11-21", 0, "hello", 5);
    accepted(15);
}

/* Segments of two different logs, one behind the other. */
static void test_closed_terms_go_back(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    uint8_t first[8];
    file_read(CLOSED_6, 24, first, sizeof(first));
    assert_int_equal(first[0], 3);
    file_rename(CLOSED_6, "spare");
    file_rename(CLOSED_2, CLOSED_6);
    file_rename("spare", CLOSED_2);
    refused(CLOSED_6);
}

/* ---- open segments ---- */

static void test_open_flips_before_the_last_batch(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    for (size_t place = 0; place < OPEN_3; place += 7) {
        unsigned bit = (unsigned)(place % 8);
        file_flip("open-1", place, bit);
        refused("open-1");
        file_flip("open-1", place, bit);
    }
    accepted(15);
}

/* The last batch was acknowledged as well: a flipped bit there is not a torn write. */
static void test_open_flips_in_the_last_batch(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    for (size_t place = OPEN_3; place < OPEN_END; place += place < OPEN_3 + 64 ? 1 : 97) {
        for (unsigned bit = 0; bit < 8; bit++) {
            if (place >= OPEN_3 + 64 && bit != place % 8) continue;
            file_flip("open-1", place, bit);
            refused("open-1");
            file_flip("open-1", place, bit);
        }
    }
    accepted(15);
}

/* Right behind the log it is a batch of which nothing is missing. Further on, the rest of a write: nothing is lost. */
static void test_open_bit_behind_the_end(void **state KW_UNUSED) {
    static const size_t places[] = {OPEN_END, OPEN_END + 8, OPEN_END + 4096, SEGMENT - 1};
    for (unsigned i = 0; i < KW_ARRAY_LEN(places); i++) {
        folder_copy(segments, dir);
        file_flip("open-1", places[i], 3);
        if (i == 0) {
            refused("open-1");
        } else {
            accepted(15);
        }
    }
}

/* A write that was cut off at each sector: the last batch is gone and nothing else. */
static void test_open_torn_write(void **state KW_UNUSED) {
    size_t first_sector = (OPEN_3 / SECTOR + 1) * SECTOR;
    folder_copy(segments, dir);
    for (size_t from = first_sector; from < OPEN_END; from += SECTOR) {
        folder_copy(segments, dir);
        file_zero("open-1", from, SEGMENT / 2);
        accepted(14);
    }
    /* Sectors are written in any order: the first, one in the middle, all but the last. */
    folder_copy(segments, dir);
    file_zero("open-1", OPEN_3, first_sector - OPEN_3);
    accepted(14);
    folder_copy(segments, dir);
    file_zero("open-1", first_sector + 4 * SECTOR, SECTOR);
    accepted(14);
    folder_copy(segments, dir);
    file_zero("open-1", OPEN_3, OPEN_END / SECTOR * SECTOR - OPEN_3);
    accepted(14);
    /* Nothing of it was written. */
    folder_copy(segments, dir);
    file_zero("open-1", OPEN_3, OPEN_END - OPEN_3);
    accepted(14);
}

static void test_open_sector_gone_before_a_good_batch(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    file_zero("open-1", OPEN_2, (OPEN_2 / SECTOR + 1) * SECTOR - OPEN_2);
    refused("open-1");
    folder_copy(segments, dir);
    file_zero("open-1", 1024, SECTOR);
    refused("open-1");
    /* The format's sector, with the first batch. */
    folder_copy(segments, dir);
    file_zero("open-1", 0, SECTOR);
    refused("open-1");
}

static void test_open_first_write_torn(void **state KW_UNUSED) {
    uint8_t part[SECTOR];
    memset(part, 'x', sizeof(part));
    folder_copy(segments, dir);
    file_cut("open-1", 0);
    file_cut("open-1", SEGMENT);
    accepted(11);
    folder_copy(segments, dir);
    file_cut("open-1", 0);
    file_cut("open-1", SEGMENT);
    file_write("open-1", SECTOR, part, sizeof(part));
    accepted(11);
    folder_copy(segments, dir);
    file_cut("open-1", 0);
    file_write("open-1", 100, part, 8);
    file_cut("open-1", SEGMENT);
    refused("open-1");
}

static void test_open_lengths(void **state KW_UNUSED) {
    static const size_t cuts[] = {3, 8, OPEN_1 + 4, OPEN_2 + 20, OPEN_3 - 8, OPEN_3 + 30, OPEN_END - 1};
    for (unsigned i = 0; i < KW_ARRAY_LEN(cuts); i++) {
        folder_copy(segments, dir);
        file_cut("open-1", cuts[i]);
        refused("open-1");
    }
    static const size_t ends[] = {OPEN_END, OPEN_END + 1, OPEN_END + 8, OPEN_END + 15, OPEN_END + 16};
    for (unsigned i = 0; i < KW_ARRAY_LEN(ends); i++) {
        folder_copy(segments, dir);
        file_cut("open-1", ends[i]);
        accepted(15);
    }
    folder_copy(segments, dir);
    file_cut("open-1", 0);
    accepted(11);
}

/* A segment that its last batch fills up to 24, 16, 8 and 0 bytes: libraft's own writing. */
static void test_open_filled(void **state KW_UNUSED) {
    for (unsigned rest = 0; rest <= 24; rest += 8) {
        char steps[64];
        size_t used = 8 + 7 * (32 + MEBIBYTE) + 32;
        snprintf(steps, sizeof(steps), "t2 a1x1048576 a1x1048576 a1x1048576 a1x1048576 a1x1048576");
        folder_remove(dir);
        assert_int_equal(mkdir(dir, 0700), 0);
        assert_true(raft_does(dir, "b"));
        char all[160];
        snprintf(all, sizeof(all), "%s a1x1048576 a1x1048576 a1x%zu", steps, SEGMENT - used - rest);
        assert_true(raft_does(dir, all));
        assert_true(file_exists("open-1"));
        accepted(9);
    }
}

/* Two open segments in use, as when a node ends before the first one was closed. */
static void two_in_use(void) {
    folder_copy(segments, dir);
    file_rename("open-3", "open-4");
    file_rename("open-2", "open-3");
    file_rename("open-1", "open-2");
    file_rename(CLOSED_10, "open-1");
}

static void test_open_two_in_use(void **state KW_UNUSED) {
    two_in_use();
    accepted(15);
    two_in_use();
    file_cut("open-1", SEGMENT);
    accepted(15);
    two_in_use(); /* the first ends in a torn write: what follows has lost its place */
    file_cut("open-1", SEGMENT);
    file_write("open-1", 1024, "x", 1);
    refused("open-");
    two_in_use(); /* the first is empty */
    file_cut("open-1", 0);
    file_cut("open-1", SEGMENT);
    refused("open-2");
}

static void test_open_terms_go_back(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    assert_true(raft_does(dir, "t5 a1x64 e4 a1x64"));
    refused("open-1");
}

static void test_open_one_gone(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    file_take(segments, CLOSED_10, "open-3");
    file_remove("open-2");
    refused("open-3");
    folder_copy(segments, dir);
    file_remove("open-2"); /* prepared ones may go */
    accepted(15);
}

/* ---- term and vote ---- */

static void test_metadata(void **state KW_UNUSED) {
    /* Versions 1 (term 1), 2 and 3 (term 2), 4 and 5 (term 3): the first file holds 5, the second 4. */
    static const struct {
        const char *file;
        size_t place;
    } flips[] = {{"metadata1", 0},  {"metadata2", 0},  {"metadata1", 8},  {"metadata2", 8},  {"metadata1", 14},
                 {"metadata2", 15}, {"metadata2", 16}, {"metadata2", 20}, {"metadata2", 24}, {"metadata2", 31}};
    folder_copy(segments, dir);
    for (unsigned i = 0; i < KW_ARRAY_LEN(flips); i++) {
        file_flip(flips[i].file, flips[i].place, 2);
        refused("metadata");
        file_flip(flips[i].file, flips[i].place, 2);
    }
    for (unsigned i = 1; i <= 2; i++) {
        const char *file = i == 1 ? "metadata1" : "metadata2";
        folder_copy(segments, dir);
        file_cut(file, 31);
        refused(file);
        folder_copy(segments, dir);
        file_cut(file, 33);
        refused(file);
        folder_copy(segments, dir);
        file_zero(file, 0, 32);
        refused(file);
        folder_copy(segments, dir);
        file_remove(file);
        refused(file);
    }
    folder_copy(segments, dir);
    file_remove("metadata1");
    file_remove("metadata2");
    refused("metadata1 and metadata2");
    /* A new term comes without a vote. */
    folder_copy(segments, dir);
    assert_true(raft_does(dir, "t4"));
    file_write("metadata2", 24, "\7", 1);
    refused("metadata2");
    /* Both are sound, but older than the log. */
    folder_remove(dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_true(raft_does(dir, "b"));
    for (unsigned i = 0; i < 3; i++) {
        static const char *const closed[] = {CLOSED_2, CLOSED_6, CLOSED_10};
        file_take(segments, closed[i], closed[i]);
    }
    refused("metadata1 and metadata2");
}

/* The second file is made by the second write. */
static void test_metadata_first_writes(void **state KW_UNUSED) {
    static const size_t lengths[] = {0, 8, 31, 32};
    for (unsigned i = 0; i < KW_ARRAY_LEN(lengths); i++) {
        folder_remove(dir);
        assert_int_equal(mkdir(dir, 0700), 0);
        assert_true(raft_does(dir, "b"));
        accepted(1);
        file_write("metadata2", 0, "", 0);
        file_cut("metadata2", lengths[i]);
        accepted(1);
        assert_true(raft_does(dir, "t2 v7 a1x8"));
        accepted(2);
    }
}

/*
 * libraft stores the vote that it gives as the term once more, without a vote, and then the vote: one that was given
 * before must not be forgotten between the two.
 */
static void test_metadata_vote_once_more(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    assert_true(raft_does(dir, "t3"));
    accepted(15);
    assert_int_equal(result->vote, 7);
    assert_true(raft_does(dir, "t4"));
    accepted(15);
    assert_int_equal(result->vote, 0);
}

/* ---- snapshots ---- */

static void test_snapshot_meta_flips(void **state KW_UNUSED) {
    folder_copy(snapshots, dir);
    const char *meta = file_find("snapshot-3-17-", ".meta");
    for (size_t place = 0; place < file_size(meta); place++) {
        file_flip(meta, place, (unsigned)(place % 8));
        refused(meta);
        file_flip(meta, place, (unsigned)(place % 8));
    }
    file_cut(meta, 40);
    refused(meta);
    file_cut(meta, 10);
    refused(meta);
    file_cut(meta, 0);
    refused(meta);
    folder_copy(snapshots, dir);
    file_cut(meta, file_size(meta) + 1);
    refused(meta);
}

static void test_snapshot_image(void **state KW_UNUSED) {
    folder_copy(snapshots, dir);
    file_cut(file_find("snapshot-3-17-", ""), 0);
    refused("snapshot-3-17-");
    /* Without its .meta it is nothing; the log still has everything. */
    folder_copy(snapshots, dir);
    file_remove(file_find("snapshot-3-17-", ".meta"));
    accepted(19);
    assert_int_equal(found.snapshot_index, 8);
    folder_copy(installed, dir);
    file_remove(file_find("snapshot-3-40-", ".meta"));
    refused(".meta");
    folder_copy(installed, dir);
    file_remove("open-1");
    file_remove(file_find("snapshot-3-40-", ".meta"));
    refused(".meta");
    /* An installation that ended between its two files. */
    folder_copy(segments, dir);
    file_write("snapshot-3-40-1234.meta", 0, "x", 1);
    accepted(15);
}

static void test_snapshot_does_not_fit_the_log(void **state KW_UNUSED) {
    folder_copy(snapshots, dir);
    char from[256], to[256];
    const char *suffixes[] = {"", ".meta"};
    for (unsigned i = 0; i < 2; i++) {
        snprintf(from, sizeof(from), "%s", file_find("snapshot-3-17-", suffixes[i]));
        snprintf(to, sizeof(to), "snapshot-2-17-%s", from + strlen("snapshot-3-17-"));
        file_rename(from, to);
    }
    file_remove(file_find("snapshot-3-8-", ""));
    refused("the snapshot of that entry has 2");
}

/* What a snapshot covers may be gone. */
static void test_snapshot_covers_a_gap(void **state KW_UNUSED) {
    folder_copy(snapshots, dir);
    file_remove(CLOSED_6);
    accepted(19);
    assert_int_equal(found.first, 10);
    folder_copy(snapshots, dir);
    file_remove(file_find("snapshot-3-17-", ""));
    file_remove(CLOSED_10);
    refused("0000000000000012-");
}

/* ---- what crashes leave ---- */

/* The log's end was removed, and the segment from before that is still there. */
static void test_truncation_cut_off(void **state KW_UNUSED) {
    static const char shorter[] = "0000000000000012-0000000000000012", longer[] = "0000000000000012-0000000000000015";
    char kept[PATH_SIZE * 2];
    snprintf(kept, sizeof(kept), "%s/kept", base);
    folder_copy(segments, dir);
    assert_true(raft_does(dir, "t4")); /* closes it */
    folder_copy(dir, kept);
    assert_true(raft_does(dir, "r13 a1x64")); /* libraft writes the entry when the removal is done */
    assert_true(file_exists(shorter) && !file_exists(longer));
    accepted(13);
    folder_copy(kept, dir);
    assert_true(raft_does(dir, "r13 a1x64"));
    file_remove("open-1");
    file_take(kept, longer, longer);
    accepted(15);
    assert_true(file_exists(longer) && !file_exists(shorter));
    /* The same name, other entries. */
    file_take(segments, CLOSED_1, shorter);
    refused(shorter);
    folder_remove(kept);
}

/* A snapshot from the leader was written, and what it replaces is still there. */
static void test_installation_cut_off(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    assert_true(raft_does(dir, "t4 i30"));
    assert_false(file_exists(CLOSED_2));
    static const char *const closed[] = {CLOSED_1, CLOSED_2, CLOSED_6, CLOSED_10};
    for (unsigned i = 0; i < KW_ARRAY_LEN(closed); i++) {
        file_take(segments, closed[i], closed[i]);
    }
    assert_true(file_exists("open-2"));
    accepted(30);
    assert_false(file_exists(CLOSED_10));
    /* Entries behind the snapshot keep their numbers. */
    assert_true(raft_does(dir, "a20x64"));
    accepted(50);
    /* Had the old segments been left, libraft would now number the new entries behind them. */
    for (unsigned i = 0; i < KW_ARRAY_LEN(closed); i++) {
        file_take(segments, closed[i], closed[i]);
    }
    accepted(50);
    folder_copy(installed, dir);
    for (unsigned i = 0; i < KW_ARRAY_LEN(closed); i++) {
        file_take(segments, closed[i], closed[i]);
    }
    refused("open-");
}

/* A refused folder is left as it was found. */
static void test_refusal_changes_nothing(void **state KW_UNUSED) {
    folder_copy(segments, dir);
    file_cut("open-1", OPEN_END + 8); /* would be mended */
    file_flip(CLOSED_2, 100, 1);
    refused(CLOSED_2);
    assert_int_equal(file_size("open-1"), OPEN_END + 8);
}

/* ---- looking without mending ---- */

/* Whose folder it is; `begun` false: as it was when the first start was cut off. */
static void identity_write(bool begun) {
    struct kw_disk_identity identity = {.id = ID, .incarnation = 1, .begun = begun};
    snprintf(identity.cluster, sizeof(identity.cluster), "main");
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    assert_int_equal(kw_disk_identity_write(fd, &identity), 0);
    close(fd);
}

static void a_tail_is_cut_off(void) {
    folder_copy(segments, dir);
    file_cut("open-1", OPEN_END + 8);
}

static void a_segment_is_empty(void) {
    folder_copy(segments, dir);
    file_cut("open-1", 0);
}

static void a_first_write_is_torn(void) {
    uint8_t part[SECTOR];
    memset(part, 'x', sizeof(part));
    folder_copy(segments, dir);
    file_cut("open-1", 0);
    file_cut("open-1", SEGMENT);
    file_write("open-1", SECTOR, part, sizeof(part));
}

static void a_vote_without_its_term(void) {
    folder_copy(segments, dir);
    assert_true(raft_does(dir, "t3"));
}

static void a_removal_is_cut_off(void) {
    char longer[PATH_SIZE * 2];
    snprintf(longer, sizeof(longer), "%s/longer", base);
    folder_copy(segments, dir);
    assert_true(raft_does(dir, "t4")); /* closes it */
    folder_copy(dir, longer);
    assert_true(raft_does(dir, "r13 a1x64"));
    file_remove("open-1");
    file_take(longer, CLOSED_12, CLOSED_12);
    folder_remove(longer);
}

static void an_installation_is_cut_off(void) {
    static const char *const closed[] = {CLOSED_1, CLOSED_2, CLOSED_6, CLOSED_10};
    folder_copy(segments, dir);
    assert_true(raft_does(dir, "t4 i30"));
    for (unsigned i = 0; i < KW_ARRAY_LEN(closed); i++) file_take(segments, closed[i], closed[i]);
}

/* What a start mends is judged alike, and stays; the start mends it then, and libraft loads what was counted. */
static void test_a_look_mends_nothing(void **state KW_UNUSED) {
    static const struct {
        void (*make)(void);
        bool begun;
        uint64_t last;
    } cases[] = {
        {a_tail_is_cut_off, true, 15},    {a_tail_is_cut_off, false, 15}, /* the identity would be written, too */
        {a_segment_is_empty, true, 11},   {a_first_write_is_torn, true, 11},      {a_vote_without_its_term, true, 15},
        {a_removal_is_cut_off, true, 15}, {an_installation_is_cut_off, true, 30},
    };
    struct kw_str before = {0};
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        enum kw_disk_found is = KW_DISK_EMPTY;
        struct kw_disk *disk;
        cases[i].make();
        identity_write(cases[i].begun);
        folder_state(dir, &before);
        for (unsigned looks = 0; looks < 2; looks++) {
            int code = kw_disk_look(dir, ID, "main", &is, why, sizeof(why));
            if (code != 0) fail_msg("case %zu: %s", i, why);
            assert_int_equal(is, KW_DISK_OURS);
            folder_must_be(dir, &before);
        }
        is = KW_DISK_EMPTY;
        if (kw_disk_open(&disk, dir, ID, "main", &is, why, sizeof(why)) != 0) fail_msg("case %zu: %s", i, why);
        assert_int_equal(is, KW_DISK_OURS);
        kw_disk_close(disk);
        accepted(cases[i].last);
    }
    kw_str_deinit(&before);
}

/* ---- at random ---- */

static uint64_t seed;

static uint64_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/*
 * Bits flipped anywhere in the segments: refused, or nothing is missing. Whole sectors zeroed: refused, or what libraft
 * loads is a beginning of the log, entry by entry.
 */
static void test_random_damage(void **state KW_UNUSED) {
    static const char *const files[] = {CLOSED_1, CLOSED_2, CLOSED_6, CLOSED_10, "open-1"};
    unsigned accepted_count = 0, refused_count = 0;
    for (unsigned round = 1; round <= 120; round++) {
        const char *file = files[round % KW_ARRAY_LEN(files)];
        seed = round * 0x9e3779b97f4a7c15U;
        folder_copy(segments, dir);
        size_t size = strncmp(file, "open", 4) == 0 ? OPEN_END + 600 : file_size(file);
        size_t place = next_random() % size;
        bool flip = round % 3 != 0;
        if (flip) {
            file_flip(file, place, (unsigned)(next_random() % 8));
        } else {
            size_t first = place / SECTOR * SECTOR, rest = file_size(file) - first;
            file_zero(file, first, rest < SECTOR ? rest : SECTOR);
        }
        int code = scan();
        if (code != 0) {
            refused_count++;
            continue;
        }
        accepted_count++;
        if (!raft_does(dir, NULL)) fail_msg("round %u: libraft does not load it (%d)", round, result->code);
        assert_int_equal(result->strange, 0);
        assert_int_equal(result->count, found.last);
        if (flip) assert_int_equal(result->count, 15);
        assert_true(result->count >= 11);
    }
    assert_true(refused_count >= 80 && accepted_count > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_untouched),
        cmocka_unit_test(test_empty_folder),
        cmocka_unit_test(test_closed_flips),
        cmocka_unit_test(test_closed_lengths),
        cmocka_unit_test(test_closed_zeroed_sector),
        cmocka_unit_test(test_closed_missing),
        cmocka_unit_test(test_closed_names),
        cmocka_unit_test(test_closed_terms_go_back),
        cmocka_unit_test(test_open_flips_before_the_last_batch),
        cmocka_unit_test(test_open_flips_in_the_last_batch),
        cmocka_unit_test(test_open_bit_behind_the_end),
        cmocka_unit_test(test_open_torn_write),
        cmocka_unit_test(test_open_sector_gone_before_a_good_batch),
        cmocka_unit_test(test_open_first_write_torn),
        cmocka_unit_test(test_open_lengths),
        cmocka_unit_test(test_open_filled),
        cmocka_unit_test(test_open_two_in_use),
        cmocka_unit_test(test_open_terms_go_back),
        cmocka_unit_test(test_open_one_gone),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_metadata_first_writes),
        cmocka_unit_test(test_metadata_vote_once_more),
        cmocka_unit_test(test_snapshot_meta_flips),
        cmocka_unit_test(test_snapshot_image),
        cmocka_unit_test(test_snapshot_does_not_fit_the_log),
        cmocka_unit_test(test_snapshot_covers_a_gap),
        cmocka_unit_test(test_truncation_cut_off),
        cmocka_unit_test(test_installation_cut_off),
        cmocka_unit_test(test_refusal_changes_nothing),
        cmocka_unit_test(test_a_look_mends_nothing),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
