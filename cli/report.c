/* Messages on standard error. Nothing is kept; a log that cannot be read is left out silently. */
#include "cli/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TAIL_LINES = 10, TAIL_BYTES = 4096 };

void kw_report_error(const char *fmt, ...) {
    va_list args;
    (void)fflush(stdout);
    (void)fputs("keyway-cli: ", stderr);
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

void kw_report_log_tail(const char *path) {
    char text[TAIL_BYTES + 1];
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    if (fseek(file, -TAIL_BYTES, SEEK_END) != 0) rewind(file);
    size_t len = fread(text, 1, TAIL_BYTES, file);
    (void)fclose(file);
    while (len > 0 && text[len - 1] == '\n') len--;
    text[len] = '\0';
    if (len == 0) return;

    char *from = text + len;
    for (unsigned lines = 0; from > text; from--) {
        if (from[-1] == '\n' && ++lines == TAIL_LINES) break;
    }
    (void)fprintf(stderr, "the last lines of %s:\n", path);
    char *save = NULL;
    for (char *line = strtok_r(from, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        (void)fprintf(stderr, "    %s\n", line);
    }
}
