/*
 * Tables. All cells stand in one string, separated by NUL, and are measured
 * once when the table is printed. Cells are made ASCII, so bytes are columns
and nothing that somebody stored steers the terminal.
 */
#include "cli/grid.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COLUMNS_LEAST = 80, GAP = 2, LAST_LEAST = 8 };

void kw_cli_grid_init(struct kw_cli_grid *grid, const char *const *titles, unsigned columns) {
    KW_ASSERT(columns > 0 && columns <= KW_CLI_GRID_COLUMNS_MAX);
    *grid = (struct kw_cli_grid){.titles = titles, .columns = columns};
}

void kw_cli_grid_deinit(struct kw_cli_grid *grid) {
    kw_str_deinit(&grid->all);
}

void kw_cli_grid_text(struct kw_cli_grid *grid, const char *text) {
    if (text[0] == '\0') text = "-";
    size_t len = strlen(text), at = grid->all.len;
    kw_str_append(&grid->all, text, len + 1);
    for (size_t i = 0; i < len; i++) {
        char c = grid->all.data[at + i];
        if (c < ' ' || c > '~') grid->all.data[at + i] = '?';
    }
    grid->cells++;
}

void kw_cli_grid_number(struct kw_cli_grid *grid, long long number) {
    kw_cli_grid_format(grid, "%lld", number);
}

void kw_cli_grid_format(struct kw_cli_grid *grid, const char *fmt, ...) {
    char text[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    kw_cli_grid_text(grid, text);
}

static const char *title_text(const char *title) {
    return title[0] == '>' ? title + 1 : title;
}

static void measure(const struct kw_cli_grid *grid, size_t widths[KW_CLI_GRID_COLUMNS_MAX]) {
    for (unsigned i = 0; i < grid->columns; i++) widths[i] = strlen(title_text(grid->titles[i]));
    const char *cell = grid->all.data;
    unsigned column = 0;
    for (size_t i = 0; i < grid->cells; i++) {
        size_t len = strlen(cell);
        if (len > widths[column]) widths[column] = len;
        if (++column == grid->columns) column = 0;
        cell += len + 1;
    }
}

/* One cell; the last of a row carries no blanks behind it, and is cut at `last_max`. */
static void cell_print(const struct kw_cli_grid *grid, unsigned column, const char *text, const size_t *widths,
                       size_t last_max, struct kw_str *out) {
    bool last = column + 1 == grid->columns;
    size_t len = strlen(text);
    int pad = (int)(widths[column] - len);
    if (column > 0) kw_str_printf(out, "%*s", GAP, "");
    if (grid->titles[column][0] == '>') {
        kw_str_printf(out, "%*s%s", pad, "", text);
    } else if (last && len > last_max) {
        kw_str_printf(out, "%.*s...", (int)last_max - 3, text);
    } else {
        kw_str_printf(out, "%s%*s", text, last ? 0 : pad, "");
    }
    if (last) kw_str_append_text(out, "\n");
}

void kw_cli_grid_print(const struct kw_cli_grid *grid, unsigned width, struct kw_str *out) {
    size_t widths[KW_CLI_GRID_COLUMNS_MAX] = {0};
    measure(grid, widths);
    size_t before_last = 0;
    for (unsigned i = 0; i + 1 < grid->columns; i++) before_last += widths[i] + GAP;
    size_t last_max = SIZE_MAX;
    if (width > 0) last_max = width > before_last + LAST_LEAST ? width - before_last : LAST_LEAST;

    for (unsigned i = 0; i < grid->columns; i++) {
        cell_print(grid, i, title_text(grid->titles[i]), widths, last_max, out);
    }
    const char *cell = grid->all.data;
    unsigned column = 0;
    for (size_t i = 0; i < grid->cells; i++) {
        cell_print(grid, column, cell, widths, last_max, out);
        if (++column == grid->columns) column = 0;
        cell += strlen(cell) + 1;
    }
}

void kw_cli_grid_terminal(unsigned *columns, unsigned *rows) {
    struct winsize size = {0};
    *columns = 0;
    *rows = 0;
    if (!isatty(STDOUT_FILENO)) return;
    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    *columns = size.ws_col > COLUMNS_LEAST ? size.ws_col : COLUMNS_LEAST;
    *rows = size.ws_row;
}
