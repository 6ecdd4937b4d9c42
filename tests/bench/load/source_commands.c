/* Frames in turn, whoever the client is. */
#include "base/alloc.h"
#include "tests/bench/load/sources.h"

struct commands {
    struct load_source source;
    struct load_frame *frames; /* own */
    size_t count, next;
};

static void request(struct load_source *source, struct load_run *run, struct load_client *client, uint32_t index) {
    struct commands *commands = KW_CONTAINER_OF(source, struct commands, source);
    struct load_frame *frame = &commands->frames[commands->next];
    if (++commands->next == commands->count) commands->next = 0;
    load_frame_fill(frame, run->draw);
    load_client_send(run, client, frame, index);
}

static void commands_free(struct load_source *source) {
    struct commands *commands = KW_CONTAINER_OF(source, struct commands, source);
    for (size_t i = 0; i < commands->count; i++) load_frame_deinit(&commands->frames[i]);
    kw_free(commands->frames);
    kw_free(commands);
}

struct load_source *load_source_commands(const char *const *texts, size_t count, const char *repeat, unsigned times,
                                         const struct load_value *value, const struct load_draw *draw) {
    struct commands *commands = kw_calloc(1, sizeof(*commands));
    commands->source = (struct load_source){.request = request, .free = commands_free};
    commands->frames = kw_calloc(count, sizeof(*commands->frames));
    commands->count = count;
    for (size_t i = 0; i < count; i++) {
        load_frame_command(&commands->frames[i], value, draw, texts[i], i == 0 ? repeat : NULL, i == 0 ? times : 0);
        size_t bytes = load_frame_bytes(&commands->frames[i]);
        if (bytes > commands->source.bytes) commands->source.bytes = bytes;
    }
    return &commands->source;
}

void load_source_free(struct load_source *source) {
    source->free(source);
}
