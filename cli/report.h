/* What goes to standard error: one form for every message of the tool. Main thread. */
#ifndef KW_CLI_REPORT_H
#define KW_CLI_REPORT_H

#include "base/base.h"

/* What the process returns. */
enum kw_exit {
    KW_EXIT_OK = 0,
    KW_EXIT_FAILED = 1,      /* the work failed; for `local status`: degraded */
    KW_EXIT_USAGE = 2,       /* the command line makes no sense */
    KW_EXIT_NOT_RUNNING = 3, /* only `local status` */
    KW_EXIT_DEGRADED = 3     /* only `status` */
};

/* "keyway-cli: text" and a line end. */
void kw_report_error(const char *fmt, ...) KW_PRINTF(1, 2);

/* The last lines of a log file, indented, under its name; nothing where it is empty or cannot be read. */
void kw_report_log_tail(const char *path);

#endif
