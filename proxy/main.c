/* keyway-proxy [file] [--directive value ...] */
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/descriptors.h"
#include "base/error.h"
#include "base/log.h"
#include "cluster/command_reference.h"
#include "proxy/server.h"
#include "proxy/settings.h"

enum { EXIT_BAD_SETTING = 2 };

static int print_page(struct kw_config *cfg, const char *what) {
    if (strcmp(what, "--version") == 0 || strcmp(what, "-v") == 0) {
        printf("keyway-proxy %s\n", KW_VERSION);
    } else if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0) {
        printf("keyway-proxy [file] [--directive value ...]\n\n");
        kw_config_help(cfg, stdout);
    } else if (strcmp(what, "--reference") == 0) {
        kw_config_reference(cfg, stdout);
    } else if (strcmp(what, "--commands") == 0) {
        kw_command_reference(stdout);
    } else {
        return -1;
    }
    return 0;
}

int main(int argc, char **argv) {
    struct kw_settings settings;
    struct kw_config_error err;
    struct kw_config *cfg = kw_config_new(kw_settings_rows, kw_settings_row_count, &settings);
    int code = EXIT_BAD_SETTING;
    if (argc == 2 && print_page(cfg, argv[1]) == 0) {
        code = 0;
    } else if (kw_config_load_args(cfg, argc, argv, &err)) {
        fprintf(stderr, "keyway-proxy: %s\n", err.text);
    } else if (kw_log_open(settings.logfile, (enum kw_log_level)settings.loglevel)) {
        fprintf(stderr, "keyway-proxy: cannot open logfile %s\n", settings.logfile);
    } else {
        kw_descriptors_want(settings.maxclients);
        code = kw_server_run(cfg, &settings);
    }
    kw_config_free(cfg);
    return code;
}
