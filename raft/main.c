/* keyway-meta [file] [--directive value ...] */
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/descriptors.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/server.h"
#include "raft/settings.h"
#include "raft/store/disk.h"

static int print_page(struct kw_config *cfg, const char *what) {
    if (strcmp(what, "--version") == 0 || strcmp(what, "-v") == 0) {
        printf("keyway-meta %s\n", KW_VERSION);
    } else if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0) {
        printf("keyway-meta [file] [--directive value ...]\n"
               "keyway-meta --check-dir DIR    look at the data folder of a node that is not running\n\n");
        kw_config_help(cfg, stdout);
    } else if (strcmp(what, "--reference") == 0) {
        kw_config_reference(cfg, stdout);
    } else {
        return -1;
    }
    return 0;
}

/* Whose folder it is, as its identity file says. False: it says nothing of the kind. */
static bool read_identity(const char *dir, unsigned long long *id, char cluster[256]) {
    char path[1024], line[512];
    bool has_id = false, has_cluster = false;
    snprintf(path, sizeof(path), "%s/identity", dir);
    FILE *file = fopen(path, "r");
    if (!file) return false;
    while (fgets(line, sizeof(line), file)) {
        has_id = has_id || sscanf(line, "id %llu", id) == 1;
        has_cluster = has_cluster || sscanf(line, "cluster %255[^\n]", cluster) == 1;
    }
    fclose(file);
    return has_id && has_cluster;
}

static int check_dir(const char *dir) {
    enum kw_disk_found found;
    unsigned long long id = 0;
    char cluster[256] = "", why[KW_DISK_WHY_SIZE] = "";
    if (!read_identity(dir, &id, cluster)) {
        fprintf(stderr,
                "keyway-meta: %s is no data folder of a metadata node: it has no file \"identity\" that can "
                "be read\n",
                dir);
        return KW_META_EXIT_FOLDER;
    }
    if (kw_disk_look(dir, id, cluster, &found, why, sizeof(why))) {
        fprintf(stderr, "keyway-meta: %s\n", why);
        return KW_META_EXIT_FOLDER;
    }
    printf("%s: node %llu of \"%s\", %s\n", dir, id, cluster,
           found == KW_DISK_EMPTY ? "nothing written yet" : "everything in it can be read");
    return 0;
}

int main(int argc, char **argv) {
    struct kw_meta_settings settings;
    struct kw_config_error err;
    if (argc == 3 && strcmp(argv[1], "--check-dir") == 0) return check_dir(argv[2]);
    struct kw_config *cfg = kw_config_new(kw_meta_settings_rows, kw_meta_settings_row_count, &settings);
    int code = KW_META_EXIT_CONFIG;
    if (argc == 2 && print_page(cfg, argv[1]) == 0) {
        code = 0;
    } else if (kw_config_load_args(cfg, argc, argv, &err)) {
        fprintf(stderr, "keyway-meta: %s\n", err.text);
    } else if (kw_log_open(settings.logfile, (enum kw_log_level)settings.loglevel)) {
        fprintf(stderr, "keyway-meta: cannot open logfile %s\n", settings.logfile);
    } else {
        kw_descriptors_want(settings.maxclients);
        code = kw_meta_server_run(cfg, &settings);
    }
    kw_config_free(cfg);
    return code;
}
