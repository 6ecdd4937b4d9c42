/*
 * The page about commands (docs/commands.md): how each is served and where it
 * differs from a single Redis 7.0. Made from data: the command table, the
 * planner's own decisions, and the texts of deviation_table.inc.
 */
#ifndef KW_CLUSTER_COMMAND_REFERENCE_H
#define KW_CLUSTER_COMMAND_REFERENCE_H

#include <stdio.h>

/* Writes the page as Markdown. One thread, as kw_planner_new; what fails is for the caller to find with ferror. */
void kw_command_reference(FILE *to);

#endif
