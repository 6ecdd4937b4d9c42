/* Reads INFO texts. Owns nothing; what is not there reads as nothing. */
#include "cli/info.h"

#include <stdlib.h>
#include <string.h>

/* The value after "name:" at the start of a line, as far as the line end; NULL when there is none. */
static const char *info_find(const char *info, const char *name) {
    size_t len = strlen(name);
    for (const char *line = info; line != NULL; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, name, len) == 0 && line[len] == ':') return line + len + 1;
    }
    return NULL;
}

bool kw_cli_info_is(const char *info, const char *name, const char *value) {
    const char *at = info_find(info, name);
    size_t len = strlen(value);
    return at != NULL && strncmp(at, value, len) == 0 && (at[len] == '\r' || at[len] == '\n' || at[len] == '\0');
}

long long kw_cli_info_number(const char *info, const char *name) {
    const char *at = info_find(info, name);
    return at == NULL ? 0 : strtoll(at, NULL, 10);
}
