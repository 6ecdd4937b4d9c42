/*
 * What stands in for libFuzzer in ordinary builds: runs the target over every
 * file of the folder given as argument (in order of name), so that a case once
 * found stays a test. A failing case aborts: its name is on the last line.
 * Without a folder, or with an empty one, there is nothing to fail.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CASE_MAX_BYTES = 16 * 1024 * 1024 };

static int is_case(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* Reads the whole file into exactly as many bytes. 0, or -1 when it cannot be read. */
static int read_case(const char *path, uint8_t **data, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) return -1;
    uint8_t *all = malloc(CASE_MAX_BYTES);
    size_t got = all ? fread(all, 1, CASE_MAX_BYTES, file) : 0;
    int failed = !all || ferror(file) || !feof(file);
    fclose(file);
    if (failed) {
        free(all);
        return -1;
    }
    uint8_t *exact = realloc(all, got ? got : 1);
    *data = exact ? exact : all;
    *size = got;
    return 0;
}

int main(int argc, char **argv) {
    unsigned passed = 0, failed = 0;
    struct dirent **cases = NULL;
    int count = argc > 1 ? scandir(argv[1], &cases, is_case, alphasort) : 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        uint8_t *data;
        size_t size;
        snprintf(path, sizeof(path), "%s/%s", argv[1], cases[i]->d_name);
        printf("%s\n", cases[i]->d_name);
        fflush(stdout);
        if (read_case(path, &data, &size) == 0) {
            LLVMFuzzerTestOneInput(data, size);
            free(data);
            passed++;
        } else {
            perror(path);
            failed++;
        }
        free(cases[i]);
    }
    free(cases);
    printf("%u passed, %u failed, 0 skipped\n", passed, failed);
    return failed > 0;
}
