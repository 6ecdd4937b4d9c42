/* File descriptors: one for each client, and a reserve for everything else. */
#ifndef KW_BASE_DESCRIPTORS_H
#define KW_BASE_DESCRIPTORS_H

/* Asks for as many as that many clients need, up to what the system allows; a warning when that is less. At the start.
 */
void kw_descriptors_want(long long maxclients);

#endif
