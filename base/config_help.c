/*
 * The pages that come from the table: --help for the terminal and the
 * reference page in Markdown. Writes to a stream and checks nothing: whoever
 * opened it looks at ferror.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/config_internal.h"

static void print_number(char *buf, size_t size, const struct kw_config_row *row, long long value) {
    if (row->type == KW_CONFIG_BYTES) {
        kw_config_format_bytes(value, buf, size);
    } else {
        snprintf(buf, size, row->flags & KW_CONFIG_OCTAL ? "%llo" : "%lld", value);
    }
}

static void describe_range(const struct kw_config_row *row, char *buf, size_t size) {
    char low[32], high[32];
    long long min, max;
    kw_config_range(row, &min, &max);
    const char *what = row->type == KW_CONFIG_BYTES ? "size" : (row->flags & KW_CONFIG_OCTAL ? "octal" : "integer");
    print_number(low, sizeof(low), row, min);
    print_number(high, sizeof(high), row, max);
    if (max == LLONG_MAX) {
        snprintf(buf, size, "%s, %s or more", what, low);
    } else {
        snprintf(buf, size, "%s, %s to %s", what, low, high);
    }
}

/* The words of a table's entry: "<normal|pubsub> <size> <size> <integer>". */
static void describe_shape(const struct kw_config_row *row, char *buf, size_t size) {
    size_t used = 0;
    buf[0] = '\0';
    if (!row->shape) {
        snprintf(buf, size, "words; may be repeated");
        return;
    }
    for (const char *letter = row->shape; *letter && used < size; letter++) {
        char names[200] = "text";
        if (*letter == 'e') kw_config_names_join(row->names, "|", names, sizeof(names));
        const char *word = *letter == 'b' ? "size" : (*letter == 'i' ? "integer" : names);
        int n = snprintf(buf + used, size - used, "%s<%s>", used ? " " : "", word);
        used += (size_t)n;
    }
    if (used < size) snprintf(buf + used, size - used, "; may be repeated");
}

static void describe_type(const struct kw_config_row *row, char *buf, size_t size) {
    switch (row->type) {
    case KW_CONFIG_BOOL: snprintf(buf, size, "yes or no"); break;
    case KW_CONFIG_INT:
    case KW_CONFIG_BYTES: describe_range(row, buf, size); break;
    case KW_CONFIG_ENUM: kw_config_names_join(row->names, ", ", buf, size); break;
    case KW_CONFIG_STRING: snprintf(buf, size, "text"); break;
    case KW_CONFIG_SECRET: snprintf(buf, size, "text, secret"); break;
    case KW_CONFIG_LIST: snprintf(buf, size, "list, separated by spaces or commas"); break;
    case KW_CONFIG_TABLE: describe_shape(row, buf, size); break;
    }
}

/* The default on one line; a table's entries are joined by `between`. */
static void print_default(const struct kw_config_row *row, const char *between, FILE *to) {
    for (const char *c = row->value; *c; c++) {
        if (*c == '\n') {
            fputs(between, to);
        } else {
            fputc(*c, to);
        }
    }
}

void kw_config_help(const struct kw_config *cfg, FILE *to) {
    char type[512];
    for (size_t i = 0; i < cfg->row_count; i++) {
        const struct kw_config_row *row = &cfg->rows[i];
        describe_type(row, type, sizeof(type));
        fprintf(to, "  --%s <%s>%s%s\n      %s (default: ", row->name, type, row->unit ? " " : "",
                row->unit ? row->unit : "", row->help);
        if (row->value[0] == '\0') fputs("none", to);
        print_default(row, "; ", to);
        fprintf(to, "%s)\n", row->flags & KW_CONFIG_MUTABLE ? "" : "; at start only");
    }
}

static void print_cell(const char *text, FILE *to) {
    for (; *text; text++) {
        if (*text == '|' || *text == '<') fputc('\\', to);
        fputc(*text, to);
    }
}

void kw_config_reference(const struct kw_config *cfg, FILE *to) {
    char type[512];
    fputs("| directive | value | default | at run time | meaning |\n|---|---|---|---|---|\n", to);
    for (size_t i = 0; i < cfg->row_count; i++) {
        const struct kw_config_row *row = &cfg->rows[i];
        describe_type(row, type, sizeof(type));
        fprintf(to, "| `%s` | ", row->name);
        print_cell(type, to);
        if (row->unit) fprintf(to, " (%s)", row->unit);
        fputs(" | ", to);
        if (row->value[0] != '\0') {
            fputc('`', to);
            print_default(row, "`<br>`", to);
            fputc('`', to);
        }
        fprintf(to, " | %s | ", row->flags & KW_CONFIG_MUTABLE ? "yes" : "no");
        print_cell(row->help, to);
        fputs(" |\n", to);
    }
}
