/* Any YAML, one entry put into a list and taken out again: what an edit makes is YAML that says the
 * same but for this entry, or it says that it cannot. */
#include "config/edit.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char path[] = "access.relay.list";

static struct yaml_node *read_text(struct arena *a, struct span text)
{
    struct config_messages m;
    config_messages_init(&m);
    struct yaml_node *root = yaml_read(a, "fuzz", text, &m);
    bool sound = root != NULL && m.errors == 0;
    config_messages_deinit(&m);
    return sound ? root : NULL;
}

static const struct yaml_node *list_of(const struct yaml_node *root)
{
    static const char *const keys[] = {"access", "relay", "list"};
    for (size_t i = 0; i < 3 && root != NULL; i++) {
        const struct yaml_pair *pair = yaml_get(root, span_str(keys[i]));
        root = pair != NULL ? pair->value : NULL;
    }
    return root != NULL && root->kind == YAML_LIST ? root : NULL;
}

/* The command compares what an edit made with what was meant, and writes nothing where they differ.
 * Here a difference counts as a fault for block style in ordinary characters, as people write it.
 */
static bool plain(struct span text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((text.p[i] < 0x20 && text.p[i] != '\n') || text.p[i] >= 0x7f ||
            strchr("?|>%@`!&\t#[]{},\"'", text.p[i]) != NULL)
            return false;
    return true;
}

static void try_remove(struct arena *a, struct span text, const struct yaml_node *root)
{
    const struct yaml_node *list = list_of(root);
    for (size_t i = 0; list != NULL && i < list->count && i < 4; i++) {
        struct buf out;
        struct err e = {0};
        if (list->items[i]->kind != YAML_SCALAR)
            return;
        buf_init(&out, 1024 * 1024);
        if (config_edit_remove(text, root, path, i, &out, &e)) {
            const struct yaml_node *after = read_text(a, buf_span(&out));
            const struct yaml_node *left = list_of(after);
            if (plain(text) && (after == NULL || !config_edit_same(root, after, path) ||
                                (left == NULL ? 0 : left->count) != list->count - 1))
                __builtin_trap();
        }
        buf_deinit(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = span_of(data, size);
    struct arena a;
    struct buf out;
    struct err e = {0};
    if (size > 16 * 1024 || (size >= 2 && (data[0] >= 0xfe || data[0] == 0 || data[1] == 0)))
        return 0;
    arena_init(&a, 64 * 1024 * 1024);
    buf_init(&out, 1024 * 1024);
    const struct yaml_node *root = read_text(&a, text);
    if (root != NULL) {
        if (config_edit_add(text, root, path, "10.9.9.9", &out, &e)) {
            const struct yaml_node *after = read_text(&a, buf_span(&out));
            const struct yaml_node *before_list = list_of(root), *list = list_of(after);
            size_t had = before_list != NULL ? before_list->count : 0;
            if (plain(text) &&
                (after == NULL || !config_edit_same(root, after, path) || list == NULL ||
                 list->count != had + 1 || strcmp(list->items[had]->text, "10.9.9.9") != 0))
                __builtin_trap();
        }
        try_remove(&a, text, root);
    }
    buf_deinit(&out);
    arena_deinit(&a);
    return 0;
}
