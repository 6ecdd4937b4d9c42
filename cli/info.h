/* Single facts out of an INFO or CLUSTER INFO text ("name:value" lines). Main thread. */
#ifndef KW_CLI_INFO_H
#define KW_CLI_INFO_H

#include <stdbool.h>

bool kw_cli_info_is(const char *info, const char *name, const char *value);
long long kw_cli_info_number(const char *info, const char *name); /* 0 when there is none */

#endif
