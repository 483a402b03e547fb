#include "config/config.h"

#include "config/bind.h"
#include "config/checks.h"
#include "config/yaml.h"
#include "platform/files.h"
#include "platform/paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 128 * 1024 * 1024 };

static struct config *config_new(const char *path)
{
    char folder[PATH_TEXT_MAX];
    struct config *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    arena_init(&c->arena, CONFIG_BYTES_MAX);
    c->path = arena_str(&c->arena, path);
    if (!paths_folder(path, folder, sizeof folder))
        (void)snprintf(folder, sizeof folder, ".");
    c->folder = arena_str(&c->arena, folder);
    if (c->path == NULL || c->folder == NULL)
        config_free(&c);
    return c;
}

void config_free(struct config **c)
{
    if (*c == NULL)
        return;
    arena_deinit(&(*c)->arena);
    free(*c);
    *c = NULL;
}

enum config_result config_parse(const char *path, struct span text, struct config **out,
                                struct config_messages *m)
{
    *out = NULL;
    size_t errors_before = m->errors;
    struct config *c = config_new(path);
    if (c == NULL)
        goto no_memory;
    c->text = arena_span(&c->arena, text);
    if (c->text.n != text.n)
        goto no_memory;
    const struct yaml_node *tree = yaml_read(&c->arena, c->path, text, m);
    c->tree = tree;
    if (tree == NULL) {
        config_free(&c);
        config_messages_sort(m);
        return CONFIG_INVALID;
    }
    struct binder b = {&c->arena, c->path, m};
    if (!bind_config(&b, tree, c) || !checks_run(&b, c))
        goto no_memory;
    config_messages_sort(m);
    *out = c;
    return m->errors > errors_before ? CONFIG_INVALID : CONFIG_OK;
no_memory:
    config_free(&c);
    config_messages_add(m, CONFIG_ERROR, path, (struct config_pos){0, 0}, "", "out of memory");
    return CONFIG_MEMORY;
}

enum config_result config_load(const char *path, struct config **out, struct config_messages *m)
{
    struct buf text;
    struct err e = {0};
    enum config_result result;
    *out = NULL;
    buf_init(&text, YAML_BYTES_MAX);
    switch (files_read(path, YAML_BYTES_MAX, &text, &e)) {
    case FILES_OK: result = config_parse(path, buf_span(&text), out, m); break;
    case FILES_ABSENT:
        config_messages_add(m, CONFIG_ERROR, path, (struct config_pos){0, 0}, "", "no such file");
        result = CONFIG_MISSING;
        break;
    case FILES_FAILED:
    default:
        config_messages_add(m, CONFIG_ERROR, path, (struct config_pos){0, 0}, "",
                            "cannot be read: %s", e.text);
        result = CONFIG_IO;
        break;
    }
    buf_deinit(&text);
    return result;
}

/* One step of a path, "domains[2]" or "relay", from a mapping; NULL when the file has none. */
static const struct yaml_node *step(const struct yaml_node *map, struct span name,
                                    struct config_pos *at)
{
    size_t bracket = span_find(name, '[');
    const struct yaml_pair *pair = yaml_get(map, span_sub(name, 0, bracket));
    if (pair == NULL)
        return NULL;
    *at = pair->at;
    if (bracket == name.n)
        return pair->value;
    uint64_t index;
    struct span digits = span_sub(name, bracket + 1, name.n - bracket - 2);
    if (pair->value->kind != YAML_LIST || pair->value->count == 0 ||
        !span_u64(digits, pair->value->count - 1, &index))
        return NULL;
    *at = pair->value->items[index]->at;
    return pair->value->items[index];
}

struct config_pos config_where(const struct config *c, const char *path, bool *given)
{
    struct config_pos at = {0, 0};
    struct span rest = span_str(path);
    const struct yaml_node *node = c->tree;
    while (rest.n > 0 && node != NULL) {
        size_t dot = span_find(rest, '.');
        node = step(node, span_sub(rest, 0, dot), &at);
        rest = span_from(rest, dot + 1);
    }
    if (given != NULL)
        *given = node != NULL;
    return at;
}

const char *config_file_path(const struct config *c, struct arena *a, const char *path)
{
    static const char credential[] = "credential:";
    const size_t n = sizeof credential - 1;
    char joined[PATH_TEXT_MAX];
    bool ok = strncmp(path, credential, n) == 0
                  ? paths_credential(path + n, joined, sizeof joined)
                  : paths_join(c->folder, path, joined, sizeof joined);
    return ok ? arena_str(a, joined) : NULL;
}
