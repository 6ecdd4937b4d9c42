/*
 * A table for people: cells are added one after the other, row by row, and
 * columns become as wide as what is in them. Where a width is given, the last
 * column is cut to fit it. Main thread.
 */
#ifndef KW_CLI_GRID_H
#define KW_CLI_GRID_H

#include "base/base.h"
#include "base/str.h"

enum { KW_CLI_GRID_COLUMNS_MAX = 12 };

struct kw_cli_grid {
    const char *const *titles; /* borrowed; "" none, one that begins with '>' is aligned to the right */
    unsigned columns;
    size_t cells;      /* so far */
    struct kw_str all; /* own; every cell with its NUL, in order */
};

/* `titles`: one a column, at most KW_CLI_GRID_COLUMNS_MAX, borrowed. kw_cli_grid_deinit frees what was added. */
void kw_cli_grid_init(struct kw_cli_grid *grid, const char *const *titles, unsigned columns);
void kw_cli_grid_deinit(struct kw_cli_grid *grid);

/* The next cell; an empty text shows as "-". */
void kw_cli_grid_text(struct kw_cli_grid *grid, const char *text);
void kw_cli_grid_number(struct kw_cli_grid *grid, long long number);
void kw_cli_grid_format(struct kw_cli_grid *grid, const char *fmt, ...) KW_PRINTF(2, 3); /* cut at 255 bytes */

/* Appends the table, titles first. `width` in columns; 0: as wide as it is. */
void kw_cli_grid_print(const struct kw_cli_grid *grid, unsigned width, struct kw_str *out);

/* Columns and rows of the terminal behind standard output (at least 80 columns); both 0 where it is none. */
void kw_cli_grid_terminal(unsigned *columns, unsigned *rows);

#endif
